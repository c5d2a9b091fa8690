"""What clients of Redis say (RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/)."""


def command(*words):
    """A command as it is sent: an array of bulk strings."""
    return (f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)).encode()
