-- Prints wrk's results as JSON: requests a second, the 99th percentile in milliseconds, the number of errors.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"rate": %f, "p99": %f, "errors": %d}\n', summary.requests / summary.duration * 1e6,
    latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
