package saga;

import java.util.Collections;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;

/** Sends paid goods out while there are any: five books to begin with, one lamp, and nothing else. */
@RestController
@Profile("delivery")
public class DeliveryService {
    private final Map<String, Integer> stock = new ConcurrentHashMap<>(Map.of("book", 5, "lamp", 1));
    private final Set<String> done = Collections.newSetFromMap(new ConcurrentHashMap<>());
    private final Events events;

    public DeliveryService(Events events) {
        this.events = events;
    }

    @GetMapping("/stock/{item}")
    public int stock(@PathVariable String item) {
        return stock.getOrDefault(item, 0);
    }

    @KafkaListener(topics = Topics.PAYMENT_TAKEN)
    public synchronized void deliver(String json) {
        Event order = events.parse(json);
        if (!done.add(order.orderId)) {
            return;
        }
        int left = stock(order.item);
        if (left < order.quantity) {
            events.publish(Topics.OUT_OF_STOCK, order);
            return;
        }
        stock.put(order.item, left - order.quantity);
        events.publish(Topics.ORDER_DELIVERED, order);
    }
}
