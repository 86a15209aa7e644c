package saga;

import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;

import org.springframework.context.annotation.Profile;
import org.springframework.http.HttpStatus;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.server.ResponseStatusException;

/** Takes orders and follows what the other services say about them: PENDING, then DELIVERED, CANCELLED or REJECTED. */
@RestController
@Profile("order")
public class OrderService {
    private final Map<String, Map<String, Object>> orders = new ConcurrentHashMap<>();
    private final Events events;

    public OrderService(Events events) {
        this.events = events;
    }

    @PostMapping("/orders")
    public Map<String, Object> place(@RequestParam String customer, @RequestParam String item, @RequestParam int quantity, @RequestParam long amount) {
        Event order = new Event();
        order.orderId = UUID.randomUUID().toString();
        order.customer = customer;
        order.item = item;
        order.quantity = quantity;
        order.amount = amount;
        Map<String, Object> pending = order.summary("PENDING");
        orders.put(order.orderId, pending);
        events.publish(Topics.ORDER_CREATED, order);
        return pending;
    }

    @GetMapping("/orders/{id}")
    public Map<String, Object> find(@PathVariable String id) {
        Map<String, Object> order = orders.get(id);
        if (order == null) {
            throw new ResponseStatusException(HttpStatus.NOT_FOUND);
        }
        return order;
    }

    @KafkaListener(topics = Topics.ORDER_DELIVERED)
    public void delivered(String json) {
        settle(json, "DELIVERED");
    }

    @KafkaListener(topics = Topics.PAYMENT_REFUNDED)
    public void refunded(String json) {
        settle(json, "CANCELLED");
    }

    @KafkaListener(topics = Topics.PAYMENT_REFUSED)
    public void refused(String json) {
        settle(json, "REJECTED");
    }

    private void settle(String json, String state) {
        Event order = events.parse(json);
        orders.put(order.orderId, order.summary(state));
    }
}
