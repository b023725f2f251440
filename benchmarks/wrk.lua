-- Lets wrk say what it saw as JSON: requests a second, latencies in milliseconds, answers that were not good.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"rate": %f, "p50": %f, "p99": %f, "errors": %d}\n', summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
