"""Large payloads in a bucket, over S3's protocol: exact, gone with their run, and clear when it fails."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from django.core.files.storage import storages
from django.test.utils import override_settings
from moto.server import ThreadedMotoServer

from dashboard.pages.run import shown
from dashboard.templatetags.millrace import pretty
from orchestrator import settings, store
from orchestrator.conf import Conf
from orchestrator.domain.errors import PayloadUnavailable
from orchestrator.executor import deciding
from orchestrator.executor.payloads import Unreadable, whole
from orchestrator.executor.plans import Plans
from orchestrator.handlers import registry
from orchestrator.models import Payload, StoredObject
from orchestrator.selectors.payloads import render
from orchestrator.selectors.runs import run_view
from orchestrator.store import buckets, clock, payloads, work
from orchestrator.store.payloads import IN_TABLE, PayloadUnreadable
from orchestrator.store.work import Verdict
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant
from tests.api.client import Api
from tests.engine import Engine
from tests.store.test_payloads import encoded, end, resolved, sized, start
from tests.store.test_retention import age

pytestmark = pytest.mark.thorough

BUCKET = "payloads"
LARGE = sized(IN_TABLE + 1)


class Server:
    """A server of S3's protocol that checks keys and signatures, with a bucket and a user."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self._client("s3").create_bucket(Bucket=BUCKET)
        users = self._client("iam")
        users.create_user(UserName="millrace")
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        users.put_user_policy(
            UserName="millrace",
            PolicyName="all",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )
        key = users.create_access_key(UserName="millrace")["AccessKey"]
        self.keys = (str(key["AccessKeyId"]), str(key["SecretAccessKey"]))
        self._unchecked(b"0")

    def _client(self, service: str, keys: tuple[str, str] = ("root", "root")) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="eu-west-1" if service == "iam" else "us-east-1",
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
        )

    def objects(self) -> dict[str, bytes]:
        """What lies in the bucket."""
        client = self._client("s3", self.keys)
        found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {
            one["Key"]: client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
            for one in found
        }

    def stop(self) -> None:
        """Let it go, with what it has."""
        self._unchecked(b"inf")
        self._server.stop()

    def _unchecked(self, calls: bytes) -> None:
        """After so many calls, keys and signatures are checked."""
        plain = {"Content-Type": "text/plain"}
        asked = Request(f"{self.url}/moto-api/reset-auth", data=calls, headers=plain)
        with urlopen(asked, timeout=10) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


@pytest.fixture
def tenant(db: None, server: Server) -> Iterator[Tenant]:
    """A tenant of a server whose payloads lie in the bucket, configured as a user does."""
    with configured(
        PAYLOAD_STORAGE=f"s3://{BUCKET}/some/where",
        AWS_ENDPOINT_URL_S3=server.url,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID=server.keys[0],
        AWS_SECRET_ACCESS_KEY=server.keys[1],
    ):
        yield create_tenant(slug="t", actor=SYSTEM)


@contextmanager
def configured(**variables: str) -> Iterator[None]:
    """The storage as the environment says with these variables."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        place = settings._payload_storage()
        with override_settings(STORAGES={**settings.STORAGES, "payloads": place}):
            storages["payloads"]
            yield


def test_a_large_payload_lies_in_the_bucket_and_comes_back_exactly(
    tenant: Tenant, server: Server
) -> None:
    run = start(tenant, LARGE)
    key = Payload.objects.get().object_key
    assert server.objects()[f"some/where/{key}"] == encoded(LARGE)
    assert resolved(run.input).encode() == encoded(LARGE)
    (claim,) = (engine := Engine()).claim()
    taken = whole(store.connection(), claim, [])
    assert taken.input is not None
    assert json.loads(taken.input) == LARGE
    engine.complete(end(claim, LARGE))
    assert json.loads(render(run_view(tenant=tenant, run_id=run.pk)))["output"] == LARGE


def test_objects_go_with_their_run_and_wait_for_a_bucket_that_does_not_answer(
    tenant: Tenant, server: Server, caplog: Any
) -> None:
    run = start(tenant, LARGE)
    Engine().run_all(1)
    key = f"some/where/{Payload.objects.get().object_key}"
    age(run, 40)
    connection = store.connection()
    assert clock.forget_runs(connection, days=30, limit=10) == 1
    StoredObject.objects.update(created_at="2020-01-01T00:00Z", orphaned_at="2020-01-01T00:00Z")
    with configured(AWS_SECRET_ACCESS_KEY="another"):
        assert payloads.sweep(connection, limit=10) == 0
    assert "does not delete" in caplog.text
    assert key in server.objects()
    assert payloads.sweep(connection, limit=10) == 1
    assert key not in server.objects()
    assert not StoredObject.objects.exists()
    assert payloads.sweep(connection, limit=10) == 0


def deciding_child(plans: Plans) -> Any:
    """What deciding needs of a worker's child process."""
    return SimpleNamespace(connection=store.connection, plans=plans, conf=Conf())


def test_an_object_that_is_gone_fails_what_needs_it_at_once(tenant: Tenant) -> None:
    plain = start(tenant, LARGE)
    engine = Engine()
    (claim,) = engine.claim()
    condition = {"name": "a", "handler": "core.echo", "args": {}, "if": "${{ input.big > 0 }}"}
    asking = start(tenant, LARGE, steps=[condition])
    last = {"name": "a", "handler": "core.echo", "args": {}}
    making = start(tenant, LARGE, steps=[last], output="${{ input.big }}")
    claims = engine.claim()
    engine.succeed([one for one in claims if one.kind == "step"])
    asked = [one for one in claims if one.kind != "step"] + engine.claim()
    assert [one.kind for one in asked] == ["condition", "output"]
    plans = Plans(registry)
    plans.need(store.connection(), [one.version_id for one in asked])
    for key in Payload.objects.values_list("object_key", flat=True):
        storages["payloads"].delete(key or "")
    with pytest.raises(Unreadable, match=r"is not in the storage any more") as found:
        whole(store.connection(), claim, [])
    assert (found.value.code, found.value.retry) == ("error", False)
    child = deciding_child(plans)
    for one in asked:
        verdict = deciding.decide(child, plans.get(one.version_id), one)
        assert isinstance(verdict, Verdict)
        assert engine.worker is not None
        work.exchange(store.connection(), engine.worker.pk, [], [verdict], None)
    for run in (asking, making):
        run.refresh_from_db()
        assert run.state == "failed"
        assert "a payload could not be read" in (run.error or "")
    ended = asked[0]._replace(kind="ended")
    assert deciding.decide(child, plans.get(ended.version_id), ended) is None, "it is asked again"
    api = Api(create_api_key(tenant=tenant, scopes=None, actor=SYSTEM)[1])
    answer = api.get(f"/runs/{plain.pk}")
    assert (answer.status, answer.code) == (503, "payload_unavailable")
    assert "is not in the storage any more" in answer.body["detail"]
    value = run_view(tenant=tenant, run_id=plain.pk)["input"]
    assert "is not in the storage any more" in pretty(value)
    assert shown(value) == (value, False)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "unknown", "Forbidden|does not exist in our records"),
        ("AWS_SECRET_ACCESS_KEY", "another", "Forbidden|does not match the signature"),
        ("PAYLOAD_STORAGE", "s3://no-such-bucket/some/where", "not in the storage|NoSuchBucket"),
    ],
)
def test_a_bucket_that_refuses_leaves_payloads_in_their_rows_and_says_why(
    tenant: Tenant, caplog: Any, variable: str, value: str, said: str
) -> None:
    kept = start(tenant, LARGE)
    with configured(**{variable: value}):
        run = start(tenant, LARGE)
        assert json.loads(run.input) == LARGE
        assert "does not take" in caplog.text
        with pytest.raises(PayloadUnreadable, match=said):
            resolved(kept.input)
    assert resolved(kept.input)


def test_an_endpoint_that_does_not_answer_is_waited_for_once(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    condition = {"name": "a", "handler": "core.echo", "args": {}, "if": "${{ input.big > 0 }}"}
    kept = start(tenant, LARGE, steps=[condition])
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        with configured(AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{nobody.getsockname()[1]}"):
            run = start(tenant, LARGE)
            assert json.loads(run.input) == LARGE
            assert "Could not connect to the endpoint" in caplog.text
            with pytest.raises(PayloadUnreadable, match="did not answer within") as found:
                resolved(kept.input)
            assert not found.value.gone
            with pytest.raises(PayloadUnavailable, match="the storage does not give"):
                render(run_view(tenant=tenant, run_id=kept.pk))
            (asked,) = [one for one in Engine().claim() if one.run_id == kept.pk]
            plans = Plans(registry)
            plans.need(store.connection(), [asked.version_id])
            plan = plans.get(asked.version_id)
            assert deciding.decide(deciding_child(plans), plan, asked) is None, "it is put off"
            assert "control work is put off" in caplog.text
            monkeypatch.setattr(
                time, "monotonic", lambda now=time.monotonic: now() + buckets.REST_S
            )
            with pytest.raises(PayloadUnreadable, match="Could not connect to the endpoint"):
                resolved(kept.input)
    assert resolved(kept.input)
