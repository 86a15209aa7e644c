package saga;

import java.io.IOException;
import java.io.UncheckedIOException;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.springframework.core.env.Environment;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.stereotype.Component;

/** Events as JSON, keyed by the order so that all about one order stays in order. */
@Component
public class Events {
    private final ObjectMapper mapper = new ObjectMapper();
    private final KafkaTemplate<String, String> template;
    private final Environment environment;

    public Events(KafkaTemplate<String, String> template, Environment environment) {
        this.template = template;
        this.environment = environment;
    }

    public void publish(String topic, Event event) {
        try {
            template.send(environment.resolvePlaceholders(topic), event.orderId, mapper.writeValueAsString(event));
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }

    public Event parse(String json) {
        try {
            return mapper.readValue(json, Event.class);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
