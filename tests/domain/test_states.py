import pytest

from handshake.domain.errors import IllegalTransition
from handshake.domain.states import (
    JOB_TRANSITIONS,
    PHASE_TRANSITIONS,
    JobStatus,
    Phase,
    is_terminal,
    mermaid,
    move,
)


def test_every_state_stands_in_its_table():
    assert set(JOB_TRANSITIONS) == set(JobStatus)
    assert set(PHASE_TRANSITIONS) == set(Phase)


@pytest.mark.parametrize("end", ["completed", "completed_with_issues", "failed", "cancelled", "poisoned"])
def test_nothing_follows_an_end(end):
    assert is_terminal(JobStatus(end))
    with pytest.raises(IllegalTransition, match=f"{end} cannot become running"):
        move(JOB_TRANSITIONS, JobStatus(end), JobStatus.RUNNING)


def test_every_pair_is_either_in_the_table_or_refused():
    for current in JobStatus:
        for target in JobStatus:
            if target == current or target in JOB_TRANSITIONS[current]:
                assert move(JOB_TRANSITIONS, current, target) is target
            else:
                with pytest.raises(IllegalTransition):
                    move(JOB_TRANSITIONS, current, target)


def test_only_a_running_job_stalls():
    befores = {s for s, nexts in JOB_TRANSITIONS.items() if JobStatus.STALLED in nexts}
    assert befores == {JobStatus.RUNNING, JobStatus.AWAITING_VALIDATION}


def test_every_state_can_be_reached_and_can_end():
    for table, start in ((JOB_TRANSITIONS, JobStatus.QUEUED), (PHASE_TRANSITIONS, Phase.INITIALIZING)):
        seen, todo = {start}, [start]
        while todo:
            for follower in table[todo.pop()]:
                if follower not in seen:
                    seen.add(follower)
                    todo.append(follower)
        assert seen == set(table)


def test_the_diagram_names_every_move():
    text = mermaid(JOB_TRANSITIONS)
    assert text.startswith("stateDiagram-v2\n    [*] --> queued\n")
    assert "    running --> stalled\n" in text
    assert "    poisoned --> [*]\n" in text
    assert text.count("-->") == 1 + 5 + sum(map(len, JOB_TRANSITIONS.values()))
