"""The pages that live: by the name that their socket's address says."""

from dashboard.live.page import Page
from dashboard.pages.dead_letters import DEAD_LETTERS
from dashboard.pages.overview import OVERVIEW
from dashboard.pages.pools import POOLS
from dashboard.pages.run import RUN
from dashboard.pages.runs import RUNS
from dashboard.pages.schedules import SCHEDULE, SCHEDULES
from dashboard.pages.triggers import TRIGGER, TRIGGERS
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
        TRIGGERS,
        TRIGGER,
        POOLS,
    )
}
