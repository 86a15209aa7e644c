package saga;

import java.util.Map;
import java.util.TreeMap;

/** One order on its way through the services; what happened to it is the name of the topic it travels on. */
public class Event {
    public String orderId;
    public String customer;
    public String item;
    public int quantity;
    public long amount;

    public Map<String, Object> summary(String state) {
        Map<String, Object> map = new TreeMap<>();
        map.put("id", orderId);
        map.put("customer", customer);
        map.put("item", item);
        map.put("quantity", quantity);
        map.put("amount", amount);
        map.put("state", state);
        return map;
    }
}
