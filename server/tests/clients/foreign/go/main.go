// franz-go and sarama: topics, produce, consume, a group. By hand: BOOTSTRAP=localhost:9092 go run .
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var passed, failed int

func check(name string, body func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if err := body(ctx); err != nil {
		failed++
		fmt.Printf("not ok - go: %s\n# %s\n", name, strings.ReplaceAll(err.Error(), "\n", "\n# "))
		return
	}
	passed++
	fmt.Printf("ok - go: %s\n", name)
}

func variable(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

var (
	bootstrap = variable("BOOTSTRAP", "localhost:9092")
	run       = variable("RUN", fmt.Sprint(time.Now().Unix()))
	topic     = "go-" + run
)

func create(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := kadm.NewClient(client).CreateTopics(ctx, 2, 1, nil, topic)
	if err != nil {
		return err
	}
	return answer.Error()
}

func franz(ctx context.Context) error {
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		producer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic))
		if err != nil {
			return err
		}
		for i := 0; i < 20; i++ {
			record := &kgo.Record{Key: []byte("key"), Value: []byte(strings.Repeat("squeezed ", 20)), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}}}
			if err := producer.ProduceSync(ctx, record).FirstErr(); err != nil {
				producer.Close()
				return err
			}
		}
		producer.Close()
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup("franz-"+run), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer consumer.Close()
	next := int64(0)
	for next < 100 {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("after %d records: %w", next, err)
		}
		for _, record := range fetches.Records() {
			if record.Offset != next || string(record.Headers[0].Value) != "abc" {
				return fmt.Errorf("record %d has offset %d", next, record.Offset)
			}
			next++
		}
	}
	return consumer.CommitUncommittedOffsets(ctx)
}

func committed(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	lags, err := kadm.NewClient(client).Lag(ctx, "franz-"+run)
	if err != nil {
		return err
	}
	lag := lags["franz-"+run]
	if lag.Error() != nil || lag.Lag.Total() != 0 {
		return fmt.Errorf("lag %d, error %v", lag.Lag.Total(), lag.Error())
	}
	return nil
}

type handler struct {
	values chan string
}

func (handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "seen")
		select {
		case h.values <- string(message.Value):
		case <-session.Context().Done():
			return nil
		}
	}
	return nil
}

func withSarama(ctx context.Context) error {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Compression = sarama.CompressionSnappy
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	name := topic + "-sarama"
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	for i := 0; i < 20; i++ {
		message := &sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder(fmt.Sprintf("value %d", i))}
		if _, offset, err := producer.SendMessage(message); err != nil || offset != int64(i) {
			return fmt.Errorf("message %d: offset %d, error %v", i, offset, err)
		}
	}
	group, err := sarama.NewConsumerGroup([]string{bootstrap}, "sarama-"+run, config)
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	h := handler{values: make(chan string)}
	done := make(chan error, 1)
	go func() { done <- group.Consume(inner, []string{name}, h) }()
	for i := 0; i < 20; i++ {
		select {
		case value := <-h.values:
			if value != fmt.Sprintf("value %d", i) {
				cancel()
				return fmt.Errorf("message %d is %q", i, value)
			}
		case err := <-done:
			cancel()
			return fmt.Errorf("the session ended early: %v", err)
		case <-ctx.Done():
			cancel()
			return fmt.Errorf("only %d messages came", i)
		}
	}
	cancel()
	if err := <-done; err != nil {
		return err
	}
	return group.Close()
}

func remove(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := kadm.NewClient(client).DeleteTopics(ctx, topic, topic+"-sarama")
	if err != nil {
		return err
	}
	return answer.Error()
}

func main() {
	check("franz-go creates a topic", create)
	check("franz-go produces with every codec and consumes in a group", franz)
	check("franz-go sees no lag", committed)
	check("sarama produces and consumes in a group, topic made on the way", withSarama)
	check("franz-go deletes the topics", remove)
	fmt.Printf("# go: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
