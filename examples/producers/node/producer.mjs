// Sends one request and prints the reply: node producer.mjs QUEUE TEXT [SECONDS]
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const DIRECT = "amq.rabbitmq.reply-to"; // the broker hands replies to this channel; no queue is declared

async function call(connection, queue, body, seconds) {
  const channel = await connection.createConfirmChannel();
  const correlationId = randomUUID();
  let timer;
  const answered = new Promise((resolve, reject) => {
    const take = (message) => {
      if (message === null) reject(new Error("the broker ended the replies"));
      else if (message.properties.correlationId === correlationId) resolve(message); // else a late one
    };
    channel.on("error", reject);
    channel.on("return", () => reject(new Error(`there is no queue ${queue}`)));
    channel.consume(DIRECT, take, { noAck: true }).catch(reject);
    const expiration = String(Math.round(1000 * seconds));
    const refused = (error) => error && reject(new Error(`the broker would not take it: ${error.message}`));
    channel.publish("", queue, body, { replyTo: DIRECT, correlationId, expiration, mandatory: true }, refused);
    const giveUp = () => reject(new Error(`no reply from ${queue} within ${seconds} s`));
    timer = setTimeout(giveUp, 1000 * seconds);
  });
  return await answered.finally(() => clearTimeout(timer));
}

const [queue, text, seconds = "5"] = process.argv.slice(2);
try {
  const connection = await amqp.connect(process.env.AMQP_URL ?? "amqp://localhost");
  try {
    const reply = await call(connection, queue, Buffer.from(text), Number(seconds));
    const error = reply.properties.headers?.["rpcb-error"];
    if (error) throw new Error(`the service failed (${error}): ${reply.content}`);
    console.log(reply.content.toString());
  } finally {
    await connection.close();
  }
} catch (error) {
  console.error(error.message || error.code);
  process.exitCode = 1;
}
