"""Messages on their way: sent at least once, tried again, given up, and holding up nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from orchestrator.models import (
    Channel,
    Notification,
)
from orchestrator.services import channels
from orchestrator.services.channel_secrets import opened
from tenants.actors import COMMAND
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.alerts.conftest import Post, states
from tests.alerts.planted import Planted
from tests.alerts.receiving import Place, receiver

Make = Callable[..., Channel]


def test_redirects_are_not_followed(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    with receiver() as inner:
        channel(place.url)
        place.answers, place.location = [307], inner.url
        planted.bad()
        post.settle()
        assert Notification.objects.get().answer == "307: it redirects, which is not followed"
        assert inner.count == 0


def test_a_tenant_reaches_no_private_address(planted: Planted, channel: Make, post: Post) -> None:
    with receiver() as inner:
        port = inner.url.rsplit(":", 1)[1]
        channel(f"http://localhost:{port}")
        planted.bad()
        post.settle()
        assert (
            Notification.objects.get().answer
            == "its host is at a private address, which is not allowed"
        )
        assert inner.count == 0
        channel(inner.url, owner=None)
        Planted(None, "health:disk").bad()
        post.settle()
        assert inner.next().document["tenant"] is None, "the server's own channels may"


def test_a_receiver_that_hangs_delays_no_other_tenant(
    planted: Planted, place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    other = create_tenant(slug=f"o{uuid4().hex[:8]}", actor=COMMAND)
    with receiver() as quick:
        place.open.clear()
        channel(place.url, group_by=["rule"])
        channel(quick.url, owner=other)
        for number in range(5):
            Planted(tenant.pk, f"sla:{number}").bad()
        post.tick()
        place.next(), place.next()
        Planted(other.pk).bad()
        post.until(lambda: quick.count)
        assert place.count == 0, "of one tenant two at once"
        assert post.notifier.on_way >= 2
        place.open.set()
        post.settle()
        assert place.count == 3


def test_a_test_is_told_once_whatever_comes_of_it(
    place: Place, channel: Make, post: Post, tenant: Tenant
) -> None:
    channel(place.url)
    made = channels.test_channel(tenant=tenant, name="ops", actor=COMMAND)
    twice = channels.test_channel(tenant=tenant, name="ops", actor=COMMAND)
    assert made.pk == twice.pk, "who presses twice gets one"
    post.settle()
    said = place.next().document
    assert (said["notice"], said["alerts"], said["id"]) == ("test", [], str(made.pk))
    place.answers = [500]
    Notification.objects.update(created_at=timezone.now() - timedelta(seconds=11))
    channels.test_channel(tenant=tenant, name="ops", actor=COMMAND)
    post.settle()
    assert states() == ["test failed", "test sent"]


def test_channels_that_cannot_be_opened_any_more_say_so(
    planted: Planted, place: Place, channel: Make, post: Post
) -> None:
    row = channel(place.url)
    Channel.objects.update(sealed=b"of another key")
    planted.bad()
    post.settle()
    assert "SECRET_KEY" in Notification.objects.get().answer
    assert place.count == 0
    assert row.sealed is not None
    assert opened(bytes(row.sealed))["url"] == place.url
