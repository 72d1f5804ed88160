"""The pages that live: by the name that their socket's address says."""

from dashboard.live.page import Page
from dashboard.pages.alerts import ALERT, ALERTS
from dashboard.pages.api_keys import API_KEY, API_KEYS
from dashboard.pages.audit import AUDIT
from dashboard.pages.channels import CHANNEL, CHANNELS, SILENCES
from dashboard.pages.dead_letters import DEAD_LETTERS
from dashboard.pages.health import HEALTH
from dashboard.pages.members import MEMBER, MEMBERS
from dashboard.pages.overview import OVERVIEW
from dashboard.pages.pools import POOLS
from dashboard.pages.run import RUN
from dashboard.pages.runs import RUNS
from dashboard.pages.schedules import SCHEDULE, SCHEDULES
from dashboard.pages.secrets import SECRET, SECRETS
from dashboard.pages.slas import SLA, SLAS
from dashboard.pages.triggers import TRIGGER, TRIGGERS
from dashboard.pages.usage import USAGE
from dashboard.pages.workers import WORKERS
from dashboard.pages.workflows import WORKFLOW, WORKFLOWS

PAGES: dict[str, Page] = {
    page.name: page
    for page in (
        OVERVIEW,
        RUNS,
        RUN,
        WORKFLOWS,
        WORKFLOW,
        DEAD_LETTERS,
        SCHEDULES,
        SCHEDULE,
        SLAS,
        SLA,
        TRIGGERS,
        TRIGGER,
        POOLS,
        USAGE,
        MEMBERS,
        MEMBER,
        API_KEYS,
        API_KEY,
        SECRETS,
        SECRET,
        AUDIT,
        ALERTS,
        ALERT,
        CHANNELS,
        CHANNEL,
        SILENCES,
        HEALTH,
        WORKERS,
    )
}
