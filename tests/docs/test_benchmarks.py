"""The benchmarks' figures, their table, and the pages that quote it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from benchmarks import delivery, releases, report, request, rollouts, second_runs, steps, trace
from benchmarks.__main__ import times
from benchmarks.figures import Context, Curve, Figure, Goal, Timeline, read, together, write
from rehearsal.codebuild.buildspec import parse
from tests.support.environments import environment
from tests.support.paths import ROOT

FACTS = {"machine": "2 cores", "when": "1 May 2030", "repetitions": 3}
SAMPLE = [
    Figure("push to live", "s", [9.0, 10.0, 11.0], "by hand", [5.0, 5.0, 6.0], Goal(1.25)),
    Figure("requests", "requests/s", [1200], "raw WSGI", [1500], Goal(0.6, at_least=True)),
    Figure("second run", "s", [1.5, 2.5, 2.0], goal=Goal(3, absolute=True), note="it changed nothing"),
]

CHANGED_LINE = "push to live, one line of app.py changed"


def context() -> Context:
    made = Context({}, Path(), facts=FACTS)
    made.timelines.append(Timeline("by hand", [("docker build", 0, 1), ("pods", 1, 5)], 5))
    made.timelines.append(Timeline("the pipeline of 2022", [("install", 0, 20), ("pods", 20, 50)], 50))
    made.curves.append(Curve("two nodes", "replicas", "seconds until all are ready", [(1, 2), (10, 4)]))
    return made


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["benchmarks/run.sh", *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("figure", "ratio", "holds"),
    [
        (SAMPLE[0], 2.0, False),
        (SAMPLE[1], 0.8, True),
        (SAMPLE[2], None, True),
        (Figure("", "s", [1.0], "", [1.0], Goal(1)), 1.0, True),
        (Figure("", "s", [1.0], "", [2.0], Goal(0.6, at_least=True)), 0.5, False),
        (Figure("", "s", [3.1], goal=Goal(3, absolute=True)), None, False),
        (Figure("", "s", [3.1]), None, None),
    ],
)
def test_ratio_and_goal_of_a_figure(figure: Figure, ratio: float | None, holds: bool | None) -> None:
    assert (figure.ratio, figure.holds) == (ratio, holds)


def test_table_has_a_row_per_figure() -> None:
    lines = report.table(FACTS, SAMPLE).splitlines()
    assert lines[0] == "2 cores, 1 May 2030. 3 runs; median (least to most)."
    assert lines[4:] == [
        "| push to live | 10.0 s (9.0 to 11.0) | by hand | 5.0 s (5.0 to 6.0) | **2.00** | at most 1.25 | ✗ |",
        "| requests | 1,200 requests/s | raw WSGI | 1,500 requests/s | **0.80** | at least 0.6 | ✓ |",
        "| second run<br>it changed nothing | 2.0 s (1.5 to 2.5) |  |  |  | at most 3 | ✓ |",
    ]


def test_results_round_trip_through_json() -> None:
    made = context()
    facts, figures, timelines, curves = read(json.loads(json.dumps(write(made, SAMPLE))))
    assert facts == FACTS
    assert report.table(facts, figures) == report.table(FACTS, SAMPLE)
    assert (len(timelines), timelines[0].live, curves[0].name) == (2, 5, "two nodes")


def test_later_run_replaces_what_it_measured_and_says_when() -> None:
    earlier = write(context(), SAMPLE)
    later = deepcopy(earlier) | {"facts": {"machine": "4 cores", "when": "2 May 2030", "repetitions": 3}}
    later["figures"] = [later["figures"][0] | {"values": [7.0]}]
    later["timelines"] = [later["timelines"][0] | {"live": 6}]
    facts, figures, timelines, curves = read(together(earlier, later))
    assert facts == FACTS
    assert [(each.name, each.run) for each in figures] == [
        ("push to live", "2 May 2030, 4 cores"), ("requests", ""), ("second run", "")
    ]  # fmt: skip
    assert figures[0].values == [7.0]
    assert [each.live for each in timelines] == [6, 50]
    assert len(curves) == 1
    assert "| push to live<br>2 May 2030, 4 cores | 7.0 s |" in report.table(facts, figures)


def test_quoted_rows_are_those_of_the_results() -> None:
    """No figure is edited by hand: the table is rendered from the results, and pages quote its rows."""
    results = ROOT / "benchmarks" / "results"
    facts, figures, _, _ = read(json.loads((results / "results.json").read_text()))
    table = report.table(facts, figures)
    assert (results / "table.md").read_text() == table
    rows = [row for page in ("README.md", "docs/figures.md") if (ROOT / page).exists() for row in quoted(ROOT / page)]
    assert len(rows) > 3
    assert set(rows) <= set(table.splitlines())


def test_words_of_the_page_agree_with_the_results() -> None:
    """In docs/figures.md, "about a fifth" and "two to three times"."""
    _, figures, _, _ = read(json.loads((ROOT / "benchmarks" / "results" / "results.json").read_text()))
    by_floor = {each.against.partition(":")[0]: each.ratio for each in figures if each.name == CHANGED_LINE}
    text = " ".join((ROOT / "docs" / "figures.md").read_text(encoding="utf-8").split())
    assert "in about a fifth of the time that the pipeline of 2022 takes, and in two to three times the time" in text
    assert 0.16 < (by_floor["the buildspec of 2022"] or 0) < 0.25
    assert 2 < (by_floor["floor"] or 0) < 3


def quoted(page: Path) -> list[str]:
    """The rows of the benchmarks' table on a page, with its heading."""
    tables = re.findall(r"^\| what \| measured \|.*\n(?:\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [row for table in tables for row in table.splitlines()]


def test_timeline_has_no_gaps() -> None:
    release = releases.Release(
        "1", began=100.0, live=110.0, marks=[("git push", 101.0), ("build", 105.0), ("late", 112.0)]
    )
    timeline = release.timeline("ours")
    assert timeline.spans == [("git push", 0.0, 1.0), ("build", 1.0, 5.0), ("pods", 5.0, 10.0)]
    assert timeline.live == release.took == 10.0


@pytest.mark.parametrize(
    "call",
    [
        "aws --region us-east-2 eks get-token --cluster-name eksctl-demo",
        "aws --cli-connect-timeout 10 iam get-role --role-name x --output text",
        "aws sts get-caller-identity",
        "aws --cli-read-timeout 60 service-quotas get-service-quota --service-code ec2 --query Quota.Value",
        "aws --version",
        "kubectl --context x get namespace hello-world",
        "kubectl --request-timeout=30s get nodes --output name",
        "eksctl version",
    ],
)
def test_second_run_may_make_read_only_calls(call: str) -> None:
    second_runs.refuse_changes("create-role", [call])


def test_second_run_may_ask_what_the_role_may_do() -> None:
    asked = "kubectl --request-timeout=30s create -f /tmp/x/reviews.json --output=json"
    second_runs.refuse_changes("authorize-role", [asked])
    with pytest.raises(releases.BenchmarkError, match="changed something"):
        second_runs.refuse_changes("authorize-role", [asked.replace("reviews.json", "aws-auth-patch.yml")])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("aws cloudformation update-stack --stack-name x", "==> The stack is up to date"),
        ("kubectl apply -n hello-world -f deployer-rbac.yml", "role.rbac.authorization.k8s.io/deployers unchanged"),
    ],
)
def test_second_run_may_make_calls_that_change_nothing(call: str, said: str) -> None:
    second_runs.refuse_changes("create-stack", [call], said)
    with pytest.raises(releases.BenchmarkError, match="changed something"):
        second_runs.refuse_changes("create-stack", [call], "role.rbac.authorization.k8s.io/deployers configured")


@pytest.mark.parametrize(
    "call",
    [
        "aws --cli-connect-timeout 10 iam put-role-policy --role-name x",
        "aws cloudformation update-stack --stack-name x",
        "kubectl --context x patch configmap/aws-auth -n kube-system",
        "kubectl --request-timeout=30s delete nodes x",
        "eksctl create cluster --name x",
    ],
)
def test_second_run_rejects_changes(call: str) -> None:
    with pytest.raises(releases.BenchmarkError, match="changed something"):
        second_runs.refuse_changes("create-role", [call])


@pytest.mark.parametrize("name", rollouts.VARIANTS)
def test_only_a_variant_differs_from_the_manifest(name: str) -> None:
    documents = yaml.safe_load_all((ROOT / "deployment.yml").read_text())
    spec = next(one for one in documents if one["kind"] == "Deployment")["spec"]
    varied = deepcopy(spec)
    rollouts.VARIANTS[name](varied)
    assert (varied == spec) == (name == rollouts.AS_IT_IS)


def test_reads_times_of_a_rehearsal() -> None:
    said = (
        "✓  1  Start AWS, GitHub and Docker on this machine  watch it at http://127.0.0.1:1/ 4.0 s\n"
        "✓  2  Create the stack  (scripts/create-stack.sh) 6.5 s\n"
        "    From the command to live: 60 s\n"
        "✓  3  Push a commit, see it live  live 9.1 s after git push 12.5 s\n"
        "✓  4  Compare this machine with what it was before  nothing is left 1.0 s\n"
        "Whole rehearsal: 26 s on 2 cores.\n"
    )
    assert times(said) == (26.0, 19.0)
    with pytest.raises(releases.BenchmarkError):
        times("✗ failed")


def test_buildspec_of_2022_has_all_steps_in_order() -> None:
    spec = parse((ROOT / delivery.ORIGINAL).read_text())
    everything = "\n".join(command for phase in spec.phases.values() for command in phase.commands)
    steps = [
        "pip",
        "dl.k8s.io",
        "docker login",
        "docker build --no-cache",
        "docker push",
        "assume-role",
        "kubectl apply",
    ]
    places = [everything.index(step) for step in steps]
    assert places == sorted(places)


def test_help_lists_every_option() -> None:
    done = run("-h")
    assert done.returncode == 0, done.stderr
    assert "Usage: benchmarks/run.sh" in done.stdout
    for option in set(re.findall(r"--[a-z]+", (ROOT / "benchmarks" / "__main__.py").read_text())) - {"--keep"}:
        assert option in done.stdout
    assert len((ROOT / "benchmarks" / "run.sh").read_text().splitlines()) < 100


@pytest.mark.parametrize("arguments", [["--fast"], ["quick"], ["--only"], ["--results", ""]])
def test_rejects_unknown_arguments(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "see benchmarks/run.sh -h" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_picture_shows_timelines_and_curves(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(write(context(), SAMPLE)))
    step = {"title": "Create the stack", "begin": 4.0, "end": 14.0, "work": 5.0}
    (tmp_path / "steps.json").write_text(
        json.dumps({"cores": 4, "steps": [step], "moments": [[0, 0], [4, 2], [14, 7]]})
    )
    command = [environment("benchmarks") / "python", "-m", "benchmarks.picture", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "table.md").read_text() == report.table(FACTS, SAMPLE)
    words = (tmp_path / "picture.svg").read_text()
    assert words.rstrip().endswith("</svg>")
    for expected in ("by hand", "the pipeline of 2022", "live after 5.0 s", "replicas", "two nodes"):
        assert expected in words
    assert "Create the stack, 10.0 s, cores busy 12%" in (tmp_path / "steps.svg").read_text()


def test_cost_of_a_request_is_printed_next_to_flasks_own(capsys: pytest.CaptureFixture[str]) -> None:
    request.main(rounds=1)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    compared = {row[0].removeprefix("| "): row[2] for row in rows if len(row) == 3}
    assert compared.pop("Flask with one route") == "1.00 |"
    assert set(compared) == {"request", *list(request.REQUESTS)[1:]}
    assert [row[0].removeprefix("| ") for row in rows if len(row) == 2][1:] == list(request.IMPORTS)


# What a build waits for


def test_critical_path_goes_back_from_the_end() -> None:
    """Each time to the command that ended last before the next began; what runs at the same time does not count."""
    first, short, second, last = (
        trace.Call("a", 0, 2),
        trace.Call("b", 0, 1),
        trace.Call("c", 2.01, 5),
        trace.Call("d", 5.5, 6),
    )
    assert trace.critical_path([first, short, second, last]) == [first, second, last]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("aws --cli-connect-timeout 10 --cli-read-timeout 60 ecr get-login-password", "aws ecr get-login-password"),
        (
            "kubectl --context deployer --namespace hello-world rollout status deployment/x --timeout=10s",
            "kubectl rollout status x",
        ),
        ("docker build --target test --cache-from x.amazonaws.com/app:cache .", "docker build --target test"),
        ("docker push --quiet 1.dkr.ecr.x.amazonaws.com/app:0123456789abcdef0123", "docker push app:0123456"),
    ],
)
def test_calls_are_named_by_what_they_do(call: str, name: str) -> None:
    assert trace.short(call.split()) == name


def test_shims_record_each_call_and_keep_its_exit_code(tmp_path: Path) -> None:
    shims = trace.add_shims(tmp_path)
    done = subprocess.run(
        ["bash", "-c", "sleep 0.1; python3 -c 'import sys; sys.exit(3)'"],
        env={"PATH": f"{shims}:/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 3
    waited, failed = trace.read(tmp_path)
    assert (waited.words, failed.words.split()[0]) == ("sleep 0.1", "python3")
    assert waited.begin == 0
    assert 0.1 <= waited.end <= failed.begin


def test_traced_buildspec_differs_in_its_path_alone() -> None:
    text = (ROOT / "buildspec.yml").read_text(encoding="utf-8")
    changed = trace.traced(text, Path("/shims"))
    assert changed.replace('PATH="/shims:$HOME', 'PATH="$HOME') == text != changed
    with pytest.raises(releases.BenchmarkError, match="has no PATH"):
        trace.traced("phases: {}", Path("/shims"))


def test_steps_are_placed_by_when_they_ended_and_how_long_they_took() -> None:
    lines = [
        (2.0, "  1  80 %: compiled"),
        (10.0, "✓  2  Start AWS, GitHub and Docker on this machine  watch it at http://127.0.0.1:1/ 4.0 s"),
        (12.0, "✓  1  Get the programs (once) 12.0 s"),
        (12.5, "    The first commit was live after 12 s"),
    ]
    found = steps.steps(lines, lambda moment: 1.5 * moment)
    assert [(step.title, step.begin, step.end, step.work) for step in found] == [
        ("Get the programs (once)", 0.0, 12.0, 18.0),
        ("Start AWS, GitHub and Docker on this machine", 6.0, 10.0, 6.0),
    ]


def test_step_without_duration_has_no_work() -> None:
    assert steps.Step("Compare", 3.0, 3.0, 0.0).busy(2) == 0.0


def test_processor_time_is_what_the_cores_worked() -> None:
    """Its fields: user, nice, system, idle, iowait, irq, softirq, and what user and nice have already."""
    ticks = os.sysconf("SC_CLK_TCK")
    assert steps.processor_time(f"cpu  {ticks} {ticks} {ticks} 999 999 {ticks} {ticks} 0 5 5\ncpu0 1 1\n") == 5.0
