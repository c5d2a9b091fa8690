"""Tokens that PyPI's PyJWT makes."""

import asyncio
import contextlib
import json
import pathlib
import sys
import tempfile
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from checks import named, run
from clients import server

SECRET = "a secret of at least thirty-two bytes"
ISSUER = "https://login.example"


def claims(**changes):
    """What a good token of the user 42 says."""
    said = {
        "iss": ISSUER, "sub": "42", "aud": "roadstead", "exp": int(time.time()) + 600,
        "allow": {"history": ["news"], "publish": ["news"]},
    }
    said.update(changes)
    return {name: value for name, value in said.items() if value is not None}


@contextlib.asynccontextmanager
async def server_with(*keys):
    """A server that knows these keys: algorithm, kid, text of the file."""
    with tempfile.TemporaryDirectory() as folder:
        lines = ['[auth]', 'audience = "roadstead"']
        for number, (algorithm, kid, text) in enumerate(keys):
            file = pathlib.Path(folder, f"key-{number}")
            file.write_text(text)
            lines += ["[[token_key]]", f'issuer = "{ISSUER}"', f'kid = "{kid}"', f'algorithm = "{algorithm}"', f'file = "{file}"']
        config = pathlib.Path(folder, "roadstead.toml")
        config.write_text("\n".join(lines))
        async with server(config=config) as one:
            yield one


async def reads(one, token):
    """How one read of history with a token is answered."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with one.http.get(f"{one.url}/channels/news/history", headers=headers) as answer:
        return "ok" if answer.status == 200 else (await answer.json())["error"]["code"]


async def a_token_of_each_algorithm_is_good_and_what_it_says_is_not_changed():
    pairs = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "RS256": rsa.generate_private_key(65537, 2048),
    }
    pem = {name: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() for name, key in pairs.items()}
    async with server_with(*[(name, name, pem[name]) for name in pairs], ("HS256", "hs", SECRET)) as one:
        assert await reads(one, None) == "history_forbidden"
        for name, key in [*pairs.items(), ("HS256", SECRET)]:
            kid = "hs" if name == "HS256" else name
            token = jwt.encode(claims(), key, name, headers={"kid": kid})
            assert await reads(one, token) == "ok", name
            head, _, signature = token.split(".")
            _, other, _ = jwt.encode(claims(sub="43"), SECRET, "HS256").split(".")
            assert await reads(one, f"{head}.{other}.{signature}") == "token_signature_wrong", name
        # The public key as if it were a secret; PyJWT itself refuses to make such a token.
        head, body, _ = jwt.encode(claims(), SECRET, "HS256", headers={"kid": "RS256"}).split(".")
        assert await reads(one, f"{head}.{body}.AAAA") == "token_key_unknown"


async def what_pyjwt_says_of_time_audience_and_nothing_is_understood():
    now = int(time.time())
    async with server_with(("HS256", "", SECRET)) as one:
        for changes, code in [
            ({}, "ok"),
            ({"aud": ["other", "roadstead"]}, "ok"),
            ({"exp": now + 600.5}, "ok"),
            ({"nbf": now, "iat": now, "jti": "t"}, "ok"),
            ({"aud": "other"}, "token_audience_wrong"),
            ({"aud": None}, "token_audience_wrong"),
            ({"exp": None}, "token_claim_invalid"),
            ({"exp": now - 31}, "token_expired"),
            ({"exp": now + 90_000}, "token_lifetime_too_long"),
            ({"iss": "https://other.example"}, "token_key_unknown"),
            ({"iss": None}, "token_key_unknown"),
        ]:
            assert await reads(one, jwt.encode(claims(**changes), SECRET, "HS256")) == code, (changes, code)
        unsigned = jwt.encode(claims(), None, "none")
        assert await reads(one, unsigned) == "token_algorithm_refused"


async def main():
    return await run(named(
        a_token_of_each_algorithm_is_good_and_what_it_says_is_not_changed,
        what_pyjwt_says_of_time_audience_and_nothing_is_understood,
    ))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
