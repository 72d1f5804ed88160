"""The pages that live: by the name that their socket's address says."""

from dashboard.live.page import Page
from dashboard.pages.overview import OVERVIEW
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
        SCHEDULES,
        SCHEDULE,
        TRIGGERS,
        TRIGGER,
    )
}
