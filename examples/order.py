#!/usr/bin/env python3
"""Places an order straight on RabbitMQ and waits for what becomes of it.

    BROKER_URL=amqp://acme:password@host:5672/vhost ACCOUNT=<account id> python3 order.py po-4711

`flow publisher create acme --accounts <account id>` prints user, password and virtual host. Needs
pika (https://pika.readthedocs.io), which is in Debian as python3-pika.

What makes it safe: the message is persistent and mandatory and its confirm is awaited, and the
reference (here po-4711) is your own and stays the same when you send the order again. So send it
again whenever you are in doubt.
"""

import json
import os
import sys
import uuid

import pika

KIND = "order.place.v1"
#: What ends the wait.
LAST = {"order.completed.v1", "order.rejected.v1", "order.failed.v1", "message.rejected.v1"}


def main() -> int:
    parameters = pika.URLParameters(os.environ["BROKER_URL"])
    user = parameters.credentials.username
    reference = sys.argv[1]
    order = {
        "account_id": os.environ["ACCOUNT"],
        "request": {
            "offering": "cloud-server",
            "plan": os.environ.get("PLAN", "s"),
            "quantity": 1,
            "region": "eu-central",
            "name": "web-1",
            "external_ref": reference,
        },
    }
    message_id = str(uuid.uuid4())

    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    # From here on basic_publish returns when the broker has the message on its disk, and raises when
    # it refuses or cannot route it.
    channel.confirm_delivery()
    channel.basic_publish(
        exchange="orders",
        routing_key=f"{user}.{KIND}",
        body=json.dumps(order).encode(),
        properties=pika.BasicProperties(
            type=KIND,
            content_type="application/json",
            message_id=message_id,
            user_id=user,
            delivery_mode=2,  # persistent
        ),
        mandatory=True,
    )
    print(f"published {reference}")

    order_id = None
    for method, properties, body in channel.consume(f"answers.{user}", inactivity_timeout=60):
        if method is None:
            print("no answer within a minute; it is safe to send the order again", file=sys.stderr)
            return 1
        answer = json.loads(body)
        # The queue holds the facts of every order; those of others are for others to read.
        if properties.type == "order.accepted.v1" and answer.get("external_ref") == reference:
            order_id = answer["order_id"]
        ours = (
            answer.get("external_ref") == reference
            or answer.get("message_id") == message_id
            or (order_id is not None and answer.get("order_id") == order_id)
        )
        channel.basic_ack(method.delivery_tag)
        if not ours:
            continue
        print(properties.type, answer.get("problem", {}).get("detail", ""))
        if properties.type in LAST:
            channel.cancel()
            connection.close()
            return 0 if properties.type == "order.completed.v1" else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
