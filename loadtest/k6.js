// What happens beyond what the origin can take?
//   k6 run loadtest/k6.js                              https://k6.io
//   k6 run -e URL=http://127.0.0.1:8080/slow -e PEAK=400 loadtest/k6.js
//
// Open loop: requests arrive at a rate that grows to PEAK a second, stays there, and falls again. The query makes every
// request a miss, so that all of it is for the origin; a second scenario asks for one stored thing all along.
//
// Read:
// - checks "served or refused properly": 100 % or close to it. Beyond capacity the answer is a 503 (or 429) with
//   Retry-After, at once; neither a time-out nor a connection that breaks.
// - accepted_duration: what those who were served saw. It should stay near the origin's own latency plus queue_timeout
//   also at the peak: that is what the limit is for. Without backpressure it grows with the length of the peak.
// - refused_duration: a refusal that takes long is no help to anybody.
// - hit_duration: hits do not queue behind misses, so the peak does not show in it.

import http from 'k6/http'
import { check } from 'k6'
import { Counter, Trend } from 'k6/metrics'

const url = __ENV.URL || 'http://127.0.0.1:8080/'
const hit = __ENV.HIT || url
const peak = Number(__ENV.PEAK || 200)

const accepted = new Trend('accepted_duration', true)
const refused = new Trend('refused_duration', true)
const hits = new Trend('hit_duration', true)
const refusals = new Counter('refusals')

export const options = {
  scenarios: {
    misses: {
      executor: 'ramping-arrival-rate',
      exec: 'miss',
      startRate: 10,
      timeUnit: '1s',
      // A closed loop would hide the overload: there must always be a client free to send on schedule.
      preAllocatedVUs: peak * 2,
      maxVUs: peak * 20,
      stages: [
        { target: peak, duration: '20s' },
        { target: peak, duration: '30s' },
        { target: 10, duration: '10s' },
        // Time to recover: latencies here should be those of the beginning.
        { target: 10, duration: '10s' }
      ]
    },
    hits: {
      executor: 'constant-arrival-rate',
      exec: 'stored',
      rate: 50,
      timeUnit: '1s',
      duration: '70s',
      preAllocatedVUs: 50
    }
  },
  thresholds: {
    checks: ['rate>0.99'],
    refused_duration: ['p(99)<2500'],
    hit_duration: ['p(99)<100']
  }
}

export function miss () {
  const answer = http.get(`${url}?miss=${__VU}-${__ITER}`, { timeout: '30s' })
  const refusal = answer.status === 503 || answer.status === 429
  if (refusal) {
    refusals.add(1)
    refused.add(answer.timings.duration)
  } else {
    accepted.add(answer.timings.duration)
  }
  check(answer, {
    'served or refused properly': answer => answer.status === 200 ||
      (refusal && answer.headers['Retry-After'] !== undefined)
  })
}

export function stored () {
  hits.add(http.get(hit).timings.duration)
}
