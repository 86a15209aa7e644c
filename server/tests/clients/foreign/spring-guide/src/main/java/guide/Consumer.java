package guide;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.stereotype.Service;

@Service
public class Consumer {
    private final Logger logger = LoggerFactory.getLogger(Consumer.class);
    private final String group;

    public Consumer(@Value("${spring.kafka.consumer.group-id}") String group) {
        this.group = group;
    }

    // The group comes from the properties, so that each service reads the whole topic for itself.
    @KafkaListener(topics = Producer.TOPIC)
    public void consume(String message) {
        logger.info("#### -> {} consumed message -> {}", group, message);
    }
}
