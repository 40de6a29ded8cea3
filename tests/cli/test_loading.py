from __future__ import annotations

import os
import subprocess
import sys

from store_servers import make_certificate

SERVER = """
import gc, os, sys
from router.cli.loading import load_libraries
load_libraries()
import aiohttp.connector, structlog
from router.adapters.trust import trusted
print("rich" in sys.modules, "structlog" in sys.modules, gc.isenabled())
print(aiohttp.connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"], trusted().cert_store_stats()["x509"])
print(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
import rich
"""


def loaded(**certificates):
    """What a process finds that has loaded a server's libraries."""
    environment = {"PATH": os.environ["PATH"], **certificates}
    told = subprocess.run([sys.executable, "-c", SERVER], env=environment, capture_output=True, text=True, check=True)
    return told.stdout.splitlines()


def test_a_server_has_no_rich_no_certificates_that_it_has_not_asked_for_and_looks_for_no_garbage_yet(tmp_path):
    certificate, _ = make_certificate(tmp_path)
    assert loaded(SSL_CERT_FILE=str(certificate)) == ["False True False", "0 1", f"{certificate} None"]


def test_what_was_not_in_the_environment_is_not_there_afterwards():
    assert loaded()[2] == "None None"
