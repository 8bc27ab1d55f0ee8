from __future__ import annotations

from engine.scoring import Detection, Happenings, Tally, match_alarms, summarise
from engine.settings import Prices


def at(*seqs: int) -> list[tuple[int, int]]:
    """Return alarms that were raised at the very records that caused them."""
    return [(seq, seq) for seq in seqs]


def test_an_alarm_finds_the_newest_drift_that_began_by_then() -> None:
    found = match_alarms(at(999, 1000, 2100), [(1000, 0), (2000, 0)], window=200)
    assert found == Detection(found=2, missed=0, delays=(0, 100), false=1)


def test_an_alarm_may_come_so_late_after_a_drift_is_complete() -> None:
    assert match_alarms(at(1700), [(1000, 500)], window=200).delays == (700,)
    assert match_alarms(at(1701), [(1000, 500)], window=200) == Detection(0, 1, (), 1)


def test_a_record_from_before_a_drift_does_not_find_it() -> None:
    """Its label came late: what raised the alarm is older than the drift."""
    assert match_alarms([(1050, 950)], [(1000, 0)], window=200) == Detection(0, 1, (), 1)
    assert match_alarms([(1100, 1000)], [(1000, 0)], window=200) == Detection(1, 0, (100,), 0)


def test_an_alarm_belongs_to_the_drift_of_the_record_that_caused_it() -> None:
    drifts = [(1000, 0), (1100, 0)]
    assert match_alarms([(1150, 1050)], drifts, window=200) == Detection(1, 1, (150,), 0)


def test_lateness_counts_until_the_alarm_and_so_includes_the_delay_of_labels() -> None:
    assert match_alarms([(1201, 1000)], [(1000, 0)], window=200) == Detection(0, 1, (), 1)


def test_a_fault_excuses_the_alarms_that_it_caused_however_late_the_label() -> None:
    faults = [(1000, 1100)]
    assert match_alarms([(9000, 1050)], [], faults, window=200).false == 0
    assert match_alarms([(9000, 1300)], [], faults, window=200).false == 0
    assert match_alarms([(9000, 1301)], [], faults, window=200).false == 1
    assert match_alarms([(1050, 999)], [], faults, window=200).false == 1
    assert match_alarms([(9000, 8000)], [], [(1000, None)], window=200).false == 0


def test_events_tell_what_caused_an_alarm() -> None:
    happenings = Happenings()
    happenings.add({"kind": "fault", "seq": 100, "script": 0, "phase": "start"})
    happenings.add({"kind": "fault", "seq": 120, "script": 0, "phase": "end"})
    happenings.add({"kind": "drift", "seq": 500, "over": 0})
    happenings.add({"kind": "alarm", "seq": 510, "of_seq": 110})
    happenings.add({"kind": "alarm", "seq": 930, "of_seq": 530})
    entry = summarise(Tally(), happenings, Prices(), window=450, truth_known=True)
    assert entry["drifts"] == {"true": 1, "found": 1, "missed": 0, "delay_mean": 430.0}
    assert entry["alarms"] == {"total": 2, "false": 0}
