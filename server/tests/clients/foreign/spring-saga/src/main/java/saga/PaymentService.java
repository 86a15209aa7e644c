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

/** Takes the money of an order and gives it back when the goods cannot be had. Every customer starts with 1000. */
@RestController
@Profile("payment")
public class PaymentService {
    private static final long FIRST_BALANCE = 1000;

    private final Map<String, Long> balances = new ConcurrentHashMap<>();
    // A message may come twice after a rebalance; money moves once.
    private final Set<String> done = Collections.newSetFromMap(new ConcurrentHashMap<>());
    private final Events events;

    public PaymentService(Events events) {
        this.events = events;
    }

    @GetMapping("/balances/{customer}")
    public long balance(@PathVariable String customer) {
        return balances.getOrDefault(customer, FIRST_BALANCE);
    }

    @KafkaListener(topics = Topics.ORDER_CREATED)
    public synchronized void take(String json) {
        Event order = events.parse(json);
        if (!done.add("take " + order.orderId)) {
            return;
        }
        long balance = balance(order.customer);
        if (balance < order.amount) {
            events.publish(Topics.PAYMENT_REFUSED, order);
            return;
        }
        balances.put(order.customer, balance - order.amount);
        events.publish(Topics.PAYMENT_TAKEN, order);
    }

    /** The compensation: undoes take. */
    @KafkaListener(topics = Topics.OUT_OF_STOCK)
    public synchronized void refund(String json) {
        Event order = events.parse(json);
        if (!done.add("refund " + order.orderId)) {
            return;
        }
        balances.put(order.customer, balance(order.customer) + order.amount);
        events.publish(Topics.PAYMENT_REFUNDED, order);
    }
}
