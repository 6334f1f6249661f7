"""Appends each event to a Redis stream: fields `id` and `event`, the CloudEvent as JSON."""

import asyncio

import taskwatch.notifier_api as tw


class RedisOptions(tw.Options):
    """Appends each event to a Redis stream."""

    host: tw.Text = tw.default("127.0.0.1", "where Redis is")
    port: int = tw.default(6379, "its port")
    stream: tw.Text = tw.default("taskwatch", "the key of the stream")
    password: tw.SecretText | None = tw.default(None, "that of the default user")


class RedisNotifier(tw.Notifier):
    options = RedisOptions

    def __init__(self, options: RedisOptions) -> None:
        self._options = options

    async def notify(self, message: tw.Message) -> None:
        fields = ["id", message.event_id, "event", message.body.decode()]
        await self._ask("XADD", self._options.stream, "*", *fields)

    async def connect(self) -> None:
        await self._ask("PING")

    async def _ask(self, *command: str) -> None:
        host, port, password = self._options.host, self._options.port, self._options.password
        commands = [command] if password is None else [("AUTH", password.reveal()), command]
        try:
            reader, writer = await asyncio.open_connection(host, port)
            try:
                for words in commands:
                    writer.write(_encoded(words))
                    _require_success(await reader.readline())
            finally:
                writer.close()
        except (OSError, ValueError) as error:  # the latter from an answer without an end
            why = f"cannot reach Redis at {host}:{port}: {error}"
            raise tw.DeliveryError(tw.Reason.NETWORK, why, tw.Scope.RECEIVER) from error


def _encoded(words: tuple[str, ...]) -> bytes:
    """Return a command in RESP, the protocol of Redis."""
    parts = [part for word in map(str.encode, words) for part in (b"$%d\r\n" % len(word), word, b"\r\n")]
    return b"".join([b"*%d\r\n" % len(words), *parts])


def _require_success(answer: bytes) -> None:
    if not answer.startswith((b"+", b"$")):
        # Only the first word, as WRONGPASS or OOM: what follows may repeat the password.
        word = answer[1:].split(b" ")[0].decode("ascii", "replace").strip()
        why = f"Redis answers {word}" if word else "Redis hung up"
        raise tw.DeliveryError(tw.Reason.REJECTED, why, tw.Scope.RECEIVER)
