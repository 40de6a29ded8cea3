"""Azure, Vertex and Bedrock as accounts have them: addresses, names, tokens and signatures, against simulated ones."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from node import Node, Tenant

MODELS = {
    "azure": "openai/gpt-4o-mini@azure",
    "vertex": "google/gemini-3.8-flash@vertex",
    "vertex-anthropic": "anthropic/claude-haiku-4.5@vertex-anthropic",
    "bedrock": "anthropic/claude-haiku-4.5@bedrock",
}


class Tokens(BaseHTTPRequestHandler):
    """Google's token endpoint, as kind as can be. In a thread: a node's start blocks the loop."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"access_token":"ya29.token","expires_in":3600}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        """Nobody reads it."""


@contextlib.contextmanager
def tokens():
    with HTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()


async def test_they_are_called_by_what_the_environment_says(node, tmp_path):
    key = (
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    )
    with tokens() as token_uri:
        account = tmp_path / "account.json"
        account.write_text(json.dumps({"client_email": "a@p", "private_key": key, "token_uri": token_uri}))
        with Node(
            tmp_path,
            policies=node.environment["COSTROUTER_POLICIES"],
            AZURE_OPENAI_BASE_URL=f"{node.sim_url}/azure/v1",
            AZURE_OPENAI_API_KEY="key",
            AZURE_OPENAI_API_VERSION="2024-10-21",
            VERTEX_BASE_URL=f"{node.sim_url}/vertex/v1",
            VERTEX_SERVICE_ACCOUNT=account,
            BEDROCK_BASE_URL=f"{node.sim_url}/bedrock/v1",
            AWS_ACCESS_KEY_ID="AKID",
            AWS_SECRET_ACCESS_KEY="secret",
        ) as clouds:
            async with clouds.store() as store:
                tenant = Tenant(clouds, store)
                client = tenant.sdk(default_headers={"x-costrouter-policy": "anything"})
                for model in MODELS.values():
                    asked = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
                    assert (await client.chat.completions.create(**asked)).choices[0].message.content
                rows = await tenant.rows(len(MODELS))
                await client.close()
    assert [row.provider for row in rows] == list(MODELS)
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]
