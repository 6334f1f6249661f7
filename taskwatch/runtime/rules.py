"""What the configuration says, in the words of the engine."""

from taskwatch.config.configuration import WatchedProject
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.lane import LaneRules
from taskwatch.engine.poller import PollRules


def poll_rules(project: WatchedProject) -> PollRules:
    return PollRules(
        cadence=project.interval,
        full_poll=project.full_poll,
        baseline=project.baseline,
        failure_severities=project.severity,
        include=project.include,
        exclude=project.exclude,
    )


def lane_rules(options: ReceiverOptions) -> LaneRules:
    return LaneRules(
        timeout=options.timeout,
        initial=options.retry.initial,
        maximum=options.retry.max,
        horizon=options.retry.horizon,
        rate=options.rate,
    )
