from store import make_row

from router.adapters.metrics import Metrics, render


def text_of(*rows):
    metrics = Metrics()
    for row in rows:
        metrics.on_row(row, None)
    return render(metrics.totals, {}).decode()


def attempts(text):
    lines = [line for line in text.splitlines() if line.startswith("costrouter_attempts_total{")]
    return {line.partition('outcome="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_attempts_are_counted_by_how_they_ended():
    text = text_of(make_row("r1/1"), make_row("r2/1"), make_row("r3/1", outcome="client_left"))
    assert attempts(text) == {"ok": 2, "client_left": 1}


def test_a_released_attempt_is_counted_and_nothing_is_measured_of_it():
    text = text_of(make_row("r1/1", outcome="released"))
    assert attempts(text) == {"released": 1}
    assert "costrouter_duration_seconds_count" not in text
    assert "costrouter_cost_nanodollars_total{" not in text
