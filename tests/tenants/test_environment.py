"""What the environment says; nonsense names the variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from tenants import environment


def test_without_a_server_no_mail_is_sent() -> None:
    assert environment.mail({}) == {"MAIL_IS_SENT": False}


@pytest.mark.parametrize(
    ("url", "port", "ssl", "tls"),
    [
        ("smtp://mail.example.org", 587, False, True),
        ("smtp://mail.example.org:25?tls=no", 25, False, False),
        ("smtps://mail.example.org", 465, True, False),
    ],
)
def test_a_server(url: str, port: int, ssl: bool, tls: bool) -> None:
    found = environment.mail({"SMTP_URL": url, "MAIL_FROM": "Mill <mill@example.org>"})
    assert found["EMAIL_HOST"] == "mail.example.org"
    assert (found["EMAIL_PORT"], found["EMAIL_USE_SSL"], found["EMAIL_USE_TLS"]) == (port, ssl, tls)
    assert found["EMAIL_HOST_USER"] == ""


def test_a_password_of_any_letters() -> None:
    url = "smtp://me%40x:p%2Fw%3A@mail.example.org:2525"
    found = environment.mail({"SMTP_URL": url, "MAIL_FROM": "mill@example.org"})
    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("me@x", "p/w:")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SMTP_URL": "mail.example.org", "MAIL_FROM": "a@b"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://mail:port", "MAIL_FROM": "a@b"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://mail?tls=maybe", "MAIL_FROM": "a@b"}, "SMTP_URL"),
        ({"SMTP_URL": "smtp://mail"}, "MAIL_FROM"),
        ({"SMTP_URL": "smtp://mail", "MAIL_FROM": "a@b\nBcc: c@d"}, "MAIL_FROM"),
    ],
)
def test_nonsense_about_mail(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        environment.mail(environ)


KNOWN = {"OIDC_CLIENT_ID": "mill", "OIDC_CLIENT_SECRET": "s"}


def test_a_provider() -> None:
    assert environment.oidc({}) is None
    found = environment.oidc({"OIDC_ISSUER": "https://id.example.org/", **KNOWN})
    assert found == environment.Oidc("https://id.example.org", "mill", "s", "id.example.org")
    local = environment.oidc({"OIDC_ISSUER": "http://localhost:9", "OIDC_NAME": "Id", **KNOWN})
    assert local is not None
    assert local.name == "Id"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OIDC_ISSUER": "http://id.example.org", **KNOWN}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "id", **KNOWN}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "https://id", "OIDC_CLIENT_ID": "x"}, "OIDC_CLIENT_SECRET"),
    ],
)
def test_nonsense_about_a_provider(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        environment.oidc(environ)


def test_names_with_spaces_beside_the_commas() -> None:
    assert environment.names("millrace.example, 127.0.0.1,") == ["millrace.example", "127.0.0.1"]


def test_a_level_in_either_case() -> None:
    assert environment.log_level("debug") == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BEHIND_TLS_PROXY", "ture", "BEHIND_TLS_PROXY='ture': say true or false."),
        ("DATABASE_URL", "postgresql://u@h:port/d", "DATABASE_URL has a port that is none"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='loud': must be one of DEBUG, INFO,"),
        ("BROKER_URL", "http://broker/0", "BROKER_URL must be redis://"),
        ("CSRF_TRUSTED_ORIGINS", "mill.example", "'mill.example' has no scheme"),
        ("DATA_DIR", "/dev/null/data", "/dev/null/data/secret.key cannot be read"),
    ],
)
def test_settings_refuse_nonsense_in_one_sentence(name: str, value: str, said: str) -> None:
    environ = {key: text for key, text in os.environ.items() if key != "SECRET_KEY"}
    done = subprocess.run(
        [sys.executable, "manage.py", "tenant_database", "acme"],
        cwd=Path(__file__).parents[2],
        env={**environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Settings are wrong: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
