// Runs http-cache-tests against the gateway and compares the outcome with deviations.txt.
//
//   node run.mjs PACKAGE GATEWAY [--write] [--test ID]
//
// PACKAGE is the folder of the installed npm package, GATEWAY the program. --write also writes RESULTS.md, --test
// runs one test and shows what was sent. Ends with 1 where a result is not the expected one.
//
// Everything is in this process but the gateway: the package's own server listens on every interface, so its handlers
// are called from a server of ours on the loopback interface.

import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const [folder, program, ...flags] = process.argv.slice(2)
if (!program) {
  console.error('usage: node run.mjs PACKAGE GATEWAY [--write] [--test ID]')
  process.exit(2)
}
const only = flags.includes('--test') ? flags[flags.indexOf('--test') + 1] : undefined
const say = console.log.bind(console)
// The package's server tells of every request it does not expect.
if (!only) console.log = () => {}

const part = name => import(pathToFileURL(path.resolve(folder, name)))
const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json')))
const fetch = createRequire(path.resolve(folder, 'package.json'))('node-fetch')

// What a result is called, in the words of the package's README.
const WORDS = ['pass', 'fail', 'suboptimal', 'setup failed', 'retried', 'depends on another', 'yes', 'no']

async function origin () {
  const handlers = {}
  for (const name of ['config', 'state', 'test']) {
    handlers[name] = (await part(`server/handle-${name}.mjs`)).default
  }
  const server = http.createServer((request, response) => {
    const [name, ...rest] = new URL(request.url, 'http://origin').pathname.split('/').slice(1)
    if (name in handlers) return handlers[name](rest, request, response)
    response.writeHead(404).end()
  })
  // Longer than the gateway keeps a connection that is not used, as every origin behind a gateway should.
  server.keepAliveTimeout = 30_000
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  return server
}

// Starts the gateway; resolves with the address that it says it listens on.
function gateway (upstream) {
  const child = spawn(program, ['run', '-c', path.join(here, 'forebay.toml')], {
    env: { ...process.env, ORIGIN: `http://127.0.0.1:${upstream}` },
    stdio: ['ignore', 'ignore', 'pipe']
  })
  process.on('exit', () => child.kill('SIGKILL'))
  const log = []
  const address = new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', line => {
      log.push(line)
      const found = line.includes('admin') ? null : line.match(/listening.*address["=: ]+([0-9.:]+)/)
      if (found) resolve(found[1])
    })
    child.on('exit', code => reject(new Error(`the gateway ended with ${code}:\n${log.join('\n')}`)))
    child.on('error', reject)
    setTimeout(() => reject(new Error(`the gateway does not listen:\n${log.join('\n')}`)), 20_000).unref()
  })
  return { child, address }
}

// As lib/display.mjs of the package decides, which only runs in a browser.
function word (tests, id, results) {
  const test = tests.get(id)
  const result = results[id]
  if (result === undefined) return undefined
  const needed = test.depends_on ?? []
  if (needed.some(other => !['pass', 'yes'].includes(word(tests, other, results)))) return 'depends on another'
  if (result[0] === 'Setup') return result[1] === 'retry' ? 'retried' : 'setup failed'
  const kind = test.kind ?? 'required'
  if (kind === 'check') return result === true ? 'yes' : 'no'
  if (result === true) return 'pass'
  // Neither assertion nor setup: the client had no usable answer at all.
  return kind === 'optimal' && result[0] === 'Assertion' ? 'suboptimal' : 'fail'
}

// deviations.txt: an id, the result, and why it is right or accepted, separated by " | ".
function deviations () {
  const lines = readFileSync(path.join(here, 'deviations.txt'), 'utf8').split('\n')
  const rows = lines.filter(line => line.trim() && !line.startsWith('#')).map(line => line.split(' | '))
  for (const row of rows) {
    if (row.length !== 3 || !WORDS.includes(row[1])) throw new Error(`deviations.txt: ${row.join(' | ')}`)
  }
  return new Map(rows.map(([id, result, why]) => [id, { result, why }]))
}

function table (suites, results, peers, expected) {
  const columns = ['pass', 'fail', 'suboptimal', 'setup failed', 'retried', 'depends on another', 'yes', 'no']
  const count = (of, tests) => {
    const counts = Object.fromEntries(columns.map(column => [column, 0]))
    const byId = new Map(suites.flatMap(suite => suite.tests).map(test => [test.id, test]))
    for (const test of tests) {
      const result = word(byId, test.id, of)
      if (result) counts[result] += 1
    }
    return columns.map(column => counts[column] || '').join(' | ')
  }
  const lines = [
    '# Results of http-cache-tests',
    '',
    `Package version ${version}, written by \`tests/conformance/run --write\`. *pass* and *fail* are of tests that`,
    'RFC 9111 and RFC 9110 require to pass; *suboptimal* is allowed, and less than a cache could do; *yes* and *no* are',
    'of tests that only look how caches behave. Every result that is not *pass*, *yes* or *no* has its reason in',
    '`deviations.txt`, and `tests/conformance/run` fails where a result differs from what is said there.',
    '',
    `| suite | ${columns.join(' | ')} |`,
    `|---|${columns.map(() => '--:').join('|')}|`
  ]
  for (const suite of suites) lines.push(`| ${suite.name} | ${count(results, suite.tests)} |`)
  const all = suites.flatMap(suite => suite.tests)
  lines.push(`| **all** | ${count(results, all)} |`, '')
  lines.push('By kind: what the RFCs require, what an optimal cache does on top, and what is only looked at.', '')
  lines.push(`| kind | tests | ${columns.join(' | ')} |`, `|---|--:|${columns.map(() => '--:').join('|')}|`)
  for (const kind of ['required', 'optimal', 'check']) {
    const tests = all.filter(test => (test.kind ?? 'required') === kind)
    lines.push(`| ${kind} | ${tests.length} | ${count(results, tests)} |`)
  }
  lines.push('', 'Of the required and the optimal tests these do not pass:', '')
  for (const [id, { result, why }] of expected) {
    const kind = all.find(test => test.id === id)?.kind ?? 'required'
    if (kind !== 'check') lines.push(`- ${id} (${kind}, ${result}): ${why}`)
  }
  lines.push('')
  lines.push('For comparison, what the package has on record of others (in the version it names, as configured by its')
  lines.push('authors; not measured here):', '')
  lines.push(`| cache | ${columns.join(' | ')} |`, `|---|${columns.map(() => '--:').join('|')}|`)
  for (const peer of peers) lines.push(`| ${peer.name} ${peer.version} | ${count(peer.results, all)} |`)
  return lines.join('\n') + '\n'
}

async function main () {
  const suites = (await part('tests/index.mjs')).default.map(suite => ({
    ...suite,
    tests: suite.tests.filter(test => !test.browser_only && (!only || test.id === only))
  }))
  const tests = new Map(suites.flatMap(suite => suite.tests).map(test => [test.id, test]))
  if (only && tests.size === 0) throw new Error(`there is no test ${only}`)
  if (only) tests.get(only).dump = true

  const server = await origin()
  const { child, address } = gateway(server.address().port)
  const { runTests, getResults } = await part('client/runner.mjs')
  await runTests(suites, fetch, false, `http://${await address}`)
  const results = getResults()
  child.removeAllListeners('exit')
  child.kill('SIGTERM')

  if (only) {
    say(results[only])
    process.exit(0)
  }

  const expected = deviations()
  const surprises = []
  for (const id of [...tests.keys()].sort()) {
    const result = word(tests, id, results) ?? 'fail'
    const known = expected.get(id)
    if (known && known.result !== result) {
      surprises.push(`${id} | ${result} | expected: ${known.result}. ${results[id]?.[1] ?? ''}`)
    } else if (!known && !['pass', 'yes', 'no'].includes(result)) {
      surprises.push(`${id} | ${result} | ${results[id]?.[1] ?? 'no result'}`)
    }
  }
  for (const id of expected.keys()) {
    if (!tests.has(id)) surprises.push(`${id} | there is no such test`)
  }
  if (flags.includes('--write')) {
    const peers = (await part('results/index.mjs')).default.filter(peer => peer.type === 'rev-proxy')
    for (const peer of peers) peer.results = JSON.parse(readFileSync(path.join(folder, 'results', peer.file)))
    writeFileSync(path.join(here, 'RESULTS.md'), table(suites, results, peers, expected))
  }
  for (const surprise of surprises) say(surprise)
  const passed = tests.size - surprises.length
  say(`conformance: ${passed} as expected, ${surprises.length} not`)
  process.exit(surprises.length === 0 ? 0 : 1)
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
