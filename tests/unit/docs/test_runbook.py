"""docs/operate.md says under each alarm's name what to do."""

import re

from tests.unit.terraform.blocks import ROOT, TERRAFORM

RUNBOOK = (ROOT / "docs" / "operate.md").read_text()


def test_the_runbook_has_a_heading_for_exactly_the_alarms_of_a_stage() -> None:
    text = (TERRAFORM / "alarms.tf").read_text()
    alarms = set(re.findall(r"^      ([a-z-]+) = \{$", text, re.MULTILINE))
    alarms |= set(re.findall(r'alarm_name +=\s"\$\{local\.prefix\}-([a-z-]+)"', text))
    (queues,) = re.findall(r"dead_letter_queues = \{\n(.*?)\n  \}", text, re.DOTALL)
    alarms |= {f"{name}-dead-letters" for name in re.findall(r"^ +(\w+) +=", queues, re.MULTILINE)}

    assert len(alarms) > 10
    assert set(re.findall(r"^### ([a-z-]+)$", RUNBOOK, re.MULTILINE)) == alarms


def test_the_runbook_links_each_module_that_has_alarms() -> None:
    with_alarms = {
        file.parent.name
        for file in TERRAFORM.glob("modules/*/*.tf")
        if '"aws_cloudwatch_metric_alarm"' in file.read_text()
    }

    assert with_alarms
    assert all(f"modules/{module}/README.md" in RUNBOOK for module in with_alarms)


def test_the_runbook_has_an_entry_for_each_alarm_of_the_event_modules() -> None:
    alarm = re.compile(r'alarm_name += "\$\{local\.name\}-(?=\w)|^    (?=\w+ = \{\n      description)', re.M)
    named = {
        f"{file.parent.name.replace('_', '-')}-{re.findall(r'^\w+', text)[0]}"
        for file in TERRAFORM.glob("modules/event_*/*.tf")
        for text in alarm.split(file.read_text())[1:]
    }

    assert len(named) == 4
    assert {name for name in named if f"| `{name}` |" not in RUNBOOK} == set()
