"""The node's side of Keylime's pull protocol, as far as a verifier asks for it: quotes by tpm2-tools.

A stand-in for the Keylime agent, which no registry carries. It serves plain HTTP on loopback, so the
verifier must have 'enable_agent_mtls = False'. It keeps nothing secret and decrypts no payload.

Usage: keylime-agent.py PORT AK-HANDLE FOLDER
"""

import base64
import hashlib
import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

PORT, AK, FOLDER = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])


def bind_transport_key():
    """Keylime knows the agent's transport key by its digest in PCR 16, which can be reset."""
    digest = hashlib.sha256((FOLDER / "transport.pem").read_bytes()).hexdigest()
    subprocess.run(["tpm2_pcrreset", "16"], check=True)
    subprocess.run(["tpm2_pcrextend", f"16:sha256={digest}"], check=True)


def pcrs_of(mask):
    """The PCRs of a mask, and always PCR 16."""
    bits = int(mask, 0) | 1 << 16
    return [pcr for pcr in range(24) if bits >> pcr & 1]


def quote(nonce, mask):
    """Keylime's form of a quote: 'r' and three parts in base64, with colons between them."""
    pcrs = ",".join(str(pcr) for pcr in pcrs_of(mask))
    parts = [FOLDER / name for name in ("quote.msg", "quote.sig", "quote.pcrs")]
    command = ["tpm2_quote", "-Q", "-c", AK, "-l", f"sha256:{pcrs}", "-q", nonce.encode().hex(), "-g", "sha256"]
    for option, part in zip(("-m", "-s", "-o"), parts):
        command += [option, str(part)]
    subprocess.run(command, check=True)
    return "r" + ":".join(base64.b64encode(part.read_bytes()).decode() for part in parts)


class Handler(BaseHTTPRequestHandler):
    def answer(self, results):
        body = json.dumps({"code": 200, "status": "Success", "results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        address = urlparse(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/version":
            self.answer({"supported_version": "2.2"})
        elif "/quotes/integrity" in address.path:
            results = {
                "quote": quote(asked["nonce"], asked["mask"]),
                "hash_alg": "sha256",
                "enc_alg": "ecc",
                "sign_alg": "ecdsa",
                "boottime": int(time.time()) - 60,
            }
            if asked.get("partial") != "1":
                results["pubkey"] = (FOLDER / "transport.pem").read_text()
            self.answer(results)
        else:
            self.send_error(404)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.answer({})

    def log_message(self, form, *arguments):
        print(form % arguments, file=sys.stderr, flush=True)


bind_transport_key()
HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
