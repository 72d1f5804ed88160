"""The clock: duties done again and again, in lanes, so that urgent ones never wait for slow ones and
any number of clocks may run."""

from orchestrator.clock.duties import lanes
from orchestrator.clock.lane import Duty, Lane
from orchestrator.clock.running import Clock

__all__ = ["Clock", "Duty", "Lane", "lanes"]
