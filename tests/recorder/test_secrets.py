"""What detect-secrets knows as a secret is masked, wherever it stands; what is none stays.

The examples are those of the library's own documentation and tests; each is put together here, so that this file
holds none of them whole.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time

import pytest

from handshake.recorder.secrets import SecretMask, found_secrets


def jwt() -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, {"sub": "1234567890", "name": "John"})]
    return ".".join([base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts] + ["x" * 43])


EXAMPLES = {
    "AWS Access Key": ["AKIA" + "ZZZZZZZZZZZZZZZZ", "ASIA" + "ZZZZZZZZZZZZZZZZ"],
    "GitHub Token": ["ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"],
    "GitLab Token": ["glpat-" + "hellOworld380_testin", "gldt-" + "HwllOuhfw-wu0rlD_yep"],
    "Slack Token": [
        "xoxp-" + "523423-234243-234233-e039d02840a0b9379c",
        "xoxb-" + "34532454-e039d02840a0b9379c",
        "https://hooks.slack.com" + "/services/Txxxxxxxx/Bxxxxxxxx/" + "x" * 24,
    ],
    "Stripe Access Key": ["sk_live_" + "ReTllpYQYfIZu2Jnf2lAPFjD"],
    "SendGrid API Key": ["SG." + "ngeVfQFYQlKU0ufo8x5d1A" + "." + "TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr"],
    "OpenAI Token": ["sk-" + "Xi8tcNiHV9awbCcvilTe" + "T3BlbkFJ" + "3UDnIdEwNNm9wVBpYX0v"],
    "PyPI Token": [
        "pypi-AgEIcHlwaS5vcmc" + "CJDU3OTM4MjlhLWFiYzEtNGI0Yy1hZjYxLWQ0Y2FmYTVlYjRhNwACJXsicGVybWlzc2lvbnMi"
    ],
    "Mailchimp Access Key": ["343ea45721923ed956e2b38c31db76aa" + "-us30"],
    "Telegram Bot Token": ["110201543" + ":AAHdqTcvCH1vGWJxfSe-" + "ofSAs0K5PALDsaw"],
    "Square OAuth Secret": ["sq0csp-" + "ABCDEFGHIJK_LMNOPQRSTUVWXYZ-0123456789\\abcd"],
    "Twilio API Key": ["SK" + "x" * 32],
    "Discord Bot Token": ["MTk4NjIyNDgzNDcxOTI1MjQ4" + ".Cl2FMQ." + "ZnCjm1XVW7vRze4b7Cq4se7kKWs"],
    "Basic Auth Credentials": ["https://username:" + "whywouldyou@github.com"],
    "Artifactory Credentials": ["AKC" + "xxxxxxxxxx1", "artif-key:AKC" + "xxxxxxxxxx"],
    "Azure Storage Account access key": [
        "AccountKey=" + "lJzRc1YdHaAA2KCNJJ1tkYwF/+mKK6Ygw0NGe170Xu592euJv2wYUtBlV8z+qnlcNQSnIYVTkLWntUO1F8j8rQ=="
    ],
    "Cloudant Credentials": ["cloudant_password = " + '"' + "a3" * 32 + '"'],
    "IBM Cloud IAM Key": ["ibm-cloud_api_key = " + "abcd1234abcd1234abcd1234ABCD1234ABCD1234--__"],
    "JSON Web Token": [jwt()],
    "Private Key": ["-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----"],
    "NPM tokens": ["//registry.example.org/:_authToken=" + "npm_xxxxxxxxxxx"],
    "Secret Keyword": [
        'password = "' + 'p@ssw0rd-for-all"',
        "apikey: '" + "m{{h}o)p${e]nob(ody[finds>-_$#thisone}}'",
        '{"db_pass": "' + 'hunter-two-two"}',
    ],
}


@pytest.mark.parametrize(("kind", "example"), [(kind, text) for kind, texts in EXAMPLES.items() for text in texts])
def test_the_scanners_examples_are_masked(kind, example):
    text = f"before\n# here: {example}\nafter\n"
    masked = SecretMask().text(text)
    assert kind in masked.kinds
    assert f"[MASKED {kind}]" in masked.text
    assert masked.text.startswith("before\n")
    assert masked.text.endswith("\nafter\n")
    secrets = [secret for secret, _ in found_secrets(text)]
    assert secrets
    assert all(secret not in masked.text for secret in secrets)
    again = SecretMask().text(masked.text)
    assert again.text == masked.text


def test_the_whole_token_goes_and_not_its_prefix():
    token = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
    assert SecretMask().text(f"x {token} y {token}").text == "x [MASKED GitHub Token] y [MASKED GitHub Token]"


@pytest.mark.parametrize(
    "text",
    [
        "glpat-hellOWorld380 testin",
        "password = get_password()",
        'password = "{{ password }}"',
        'password = "${PASSWORD}"',
        "token = 'x'",
        "01a21751-5357-7c1b-8422-459d3b9da157",
        "0dd3b9d2aa6f65ee3c021640d196ac4b3433e776b42b87abac3c4239795a36a5",
        "commit 4343f55aa6f65ee3c021640d196ac4b3433e776b",
        "jobs/01a21751-5357-7c1b-8422-459d3b9da157/steps/MT-001_iter-001/prompt.md",
        "eyJ.not.a-token",
        "see 8.8.8.8",
    ],
)
def test_what_is_no_secret_stays(text):
    assert SecretMask().text(text).text == text


def test_a_short_password_is_masked_where_it_is_quoted_alone():
    text = 'test: password = "test1"; the test1 goes on'
    assert SecretMask().text(text).text == 'test: password = "[MASKED Secret Keyword]"; the test1 goes on'


def test_known_values_and_values_in_records():
    mask = SecretMask({"SHOP_KEY": "an-ordinary-word", "SHORT": "abc"})
    token = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
    record = {"a": [{"b": f"said {token}"}, 1, None, True], "c": "bearer an-ordinary-word", "d": "abc"}
    assert mask.value(record) == {
        "a": [{"b": "said [MASKED GitHub Token]"}, 1, None, True],
        "c": "bearer [MASKED value of SHOP_KEY]",
        "d": "abc",
    }
    clean = {"a": ["nothing here"]}
    assert mask.value(clean) is clean


def test_hostile_text_takes_no_unbounded_time():
    began = time.process_time()
    for text in ("password" * 20_000, "cloudant_" * 20_000, "://a:" * 20_000, "eyJ" * 30_000, "-----BEGIN " * 9_000):
        SecretMask().text(text)
    assert time.process_time() - began < 60


def test_the_detectors_are_loaded_without_the_library_that_asks_servers():
    code = (
        "import sys; from handshake.recorder import secrets\n"
        "asked = []\n"
        "loaded = secrets._loaded\n"
        "def once_refused():\n"
        "    asked.append(hasattr(sys.modules.get('requests'), 'get'))\n"
        "    if sys.argv[1] == 'later' and len(asked) == 1: raise AttributeError\n"
        "    return loaded()\n"
        "secrets._loaded = once_refused\n"
        "print([kind for _, kind in secrets.found_secrets('AKIA' + 'Z' * 16)], len(asked))\n"
        "print([name for name in ('requests', 'urllib3') if name in sys.modules])\n"
        "import requests; print(callable(requests.get))\n"
    )
    for version, said in (
        ("now", "['AWS Access Key'] 1\n[]\nTrue\n"),
        ("later", "['AWS Access Key'] 2\n['requests', 'urllib3']\nTrue\n"),
    ):
        done = subprocess.run([sys.executable, "-c", code, version], capture_output=True, text=True, check=True)
        assert done.stdout == said
