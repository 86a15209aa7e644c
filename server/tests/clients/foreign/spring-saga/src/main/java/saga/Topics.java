package saga;

import org.apache.kafka.clients.admin.NewTopic;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.core.env.Environment;
import org.springframework.kafka.config.TopicBuilder;

/** The topics of the saga; whichever service starts first makes them. SAGA_RUN keeps one run's topics apart from another's. */
@Configuration
public class Topics {
    public static final String ORDER_CREATED = "order-created${SAGA_RUN:}";
    public static final String PAYMENT_TAKEN = "payment-taken${SAGA_RUN:}";
    public static final String PAYMENT_REFUSED = "payment-refused${SAGA_RUN:}";
    public static final String PAYMENT_REFUNDED = "payment-refunded${SAGA_RUN:}";
    public static final String ORDER_DELIVERED = "order-delivered${SAGA_RUN:}";
    public static final String OUT_OF_STOCK = "out-of-stock${SAGA_RUN:}";

    private final Environment environment;

    public Topics(Environment environment) {
        this.environment = environment;
    }

    private NewTopic topic(String name) {
        return TopicBuilder.name(environment.resolvePlaceholders(name)).partitions(3).replicas(1).build();
    }

    @Bean
    public NewTopic orderCreated() {
        return topic(ORDER_CREATED);
    }

    @Bean
    public NewTopic paymentTaken() {
        return topic(PAYMENT_TAKEN);
    }

    @Bean
    public NewTopic paymentRefused() {
        return topic(PAYMENT_REFUSED);
    }

    @Bean
    public NewTopic paymentRefunded() {
        return topic(PAYMENT_REFUNDED);
    }

    @Bean
    public NewTopic orderDelivered() {
        return topic(ORDER_DELIVERED);
    }

    @Bean
    public NewTopic outOfStock() {
        return topic(OUT_OF_STOCK);
    }
}
