"""Words of channels and of what is sent to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

from orchestrator.domain.retries import RetryPolicy


class Kind(StrEnum):
    """How a channel reaches people."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    SLACK = "slack"
    APPRISE = "apprise"


class Notice(StrEnum):
    """What a message tells."""

    FIRING = "firing"
    REPEAT = "repeat"
    RESOLVED = "resolved"
    TEST = "test"


class Outcome(StrEnum):
    """What became of a message.

    ```mermaid
    stateDiagram-v2
        [*] --> collecting: its first alert
        collecting --> sending: due
        collecting --> dropped: nothing of it is left to tell
        sending --> sending: failed, tried again
        sending --> sent: taken by the receiver
        sending --> failed: given up
    ```
    """

    COLLECTING = "collecting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


REFUSED: Final = "the mail server refuses every address of the channel"
"""What is said of letters to nobody: a mistake of the channel, and not the mail server's trouble."""

RETRIES = RetryPolicy(
    max_attempts=10,
    delay=timedelta(seconds=5),
    factor=2.0,
    max_delay=timedelta(minutes=10),
    jitter=0.25,
)
"""Ten attempts within about half an hour."""

TENANT_SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "gchat": ("chat.googleapis.com",),
    "ilert": ("api.ilert.com",),
    "incidentio": ("api.incident.io",),
    "line": ("api.line.me",),
    "opsgenie": ("api.opsgenie.com", "api.eu.opsgenie.com"),
    "pagerduty": ("events.pagerduty.com", "events.eu.pagerduty.com"),
    "pagertree": ("api.pagertree.com",),
    "pbul": ("api.pushbullet.com",),
    "pover": ("api.pushover.net",),
    "sendgrid": ("api.sendgrid.com",),
    "signl4": ("connect.signl4.com",),
    "splunk": ("alert.victorops.com",),
    "squadcast": ("api.squadcast.com", "api.eu.squadcast.com"),
    "tgram": ("api.telegram.org",),
    "twilio": ("api.twilio.com",),
    "twist": ("api.twist.com",),
    "victorops": ("alert.victorops.com",),
    "webex": ("webexapis.com", "api.ciscospark.com"),
    "wxteams": ("webexapis.com", "api.ciscospark.com"),
}
"""Schemes of apprise that tenants may use, and the hosts that each of them reaches: one public
service, at addresses that the library knows and the URL does not choose.  Those of which the URL
names a host (zulip), or a document to be fetched (discord, slack), are not among them."""

TENANT_ARGUMENTS: Final = frozenset(
    {
        "priority", "region", "severity", "silent", "sound", "tags", "thread", "to", "topic",
        "urgency",
    }
)  # fmt: skip
"""What the query of a tenant's URL may say: words for the service.  Others name templates, which the
library fetches from wherever they are, files of this server among them."""
