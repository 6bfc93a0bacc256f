// Sends one request and prints the reply: mvn -q compile exec:java -Dexec.args="QUEUE TEXT [SECONDS]"
import java.net.URI;
import java.nio.charset.StandardCharsets;

import org.springframework.amqp.AmqpException;
import org.springframework.amqp.core.AmqpMessageReturnedException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitTemplate;

public final class Producer {

    static String call(RabbitTemplate template, String queue, String text, long millis) {
        Message request = MessageBuilder.withBody(text.getBytes(StandardCharsets.UTF_8))
                .setExpiration(Long.toString(millis)) // so that no worker computes what nobody awaits
                .build();
        Message reply = template.sendAndReceive("", queue, request); // correlates by itself
        if (reply == null) {
            throw new AmqpException("no reply from " + queue + " within " + millis + " ms");
        }
        String body = new String(reply.getBody(), StandardCharsets.UTF_8);
        Object error = reply.getMessageProperties().getHeaders().get("rpcb-error");
        if (error != null) {
            throw new AmqpException("the service failed (" + error + "): " + body);
        }
        return body;
    }

    public static void main(String[] args) {
        long millis = Math.round(1000 * Double.parseDouble(args.length > 2 ? args[2] : "5"));
        String url = System.getenv().getOrDefault("AMQP_URL", "amqp://localhost");
        CachingConnectionFactory factory = new CachingConnectionFactory(URI.create(url));
        factory.setPublisherReturns(true); // with mandatory: a request to no queue fails at once
        RabbitTemplate template = new RabbitTemplate(factory);
        template.setMandatory(true);
        template.setReplyTimeout(millis); // 5 s if it is not set
        int code = 0;
        try {
            System.out.println(call(template, args[0], args[1], millis));
        } catch (AmqpMessageReturnedException returned) {
            System.err.println("there is no queue " + returned.getRoutingKey());
            code = 1;
        } catch (AmqpException failure) {
            System.err.println(failure.getMessage());
            code = 1;
        } finally {
            template.stop();
            factory.destroy();
        }
        System.exit(code);
    }
}
