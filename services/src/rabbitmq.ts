// A RabbitMQ for tests: a node with a name, ports and folders of its own, and an epmd of its own, so that it meets no other.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { findProgram, missing } from './available.ts';
import { freePort } from './redis.ts';

export interface RabbitServer {
  readonly url: string;
  /** Ends what was started here, with its data. */
  stop(): Promise<void>;
}

/** One whose node obeys. */
export interface ControlledRabbit extends RabbitServer {
  /** Runs rabbitmqctl, and answers what it prints. It takes about two seconds. */
  ctl(...args: string[]): Promise<string>;
}

export interface RabbitServerOptions {
  /** Lines of rabbitmq.conf: `['consumer_timeout = 60000']`. */
  readonly settings?: readonly string[];
  /** Settings of the server that rabbitmq.conf has no word for, in Erlang: `['{channel_tick_interval, 1000}']`. */
  readonly advanced?: readonly string[];
  /** A node of the same cluster that this one joins. */
  readonly cluster?: StartedRabbit;
}

/** How long a node may take to start, in milliseconds, on a machine that is busy. */
const startMs = 120_000;

/** The RabbitMQ of `AMQP_URL`, or one of its own. undefined where there is none. */
export async function rabbitServer(): Promise<RabbitServer | undefined> {
  const { AMQP_URL: url } = process.env;
  return url ? { url, stop: async () => {} } : startRabbit();
}

/** The same where it can be controlled, as `control` says, else one of its own. undefined where there is none. */
export async function controlledRabbit(): Promise<ControlledRabbit | undefined> {
  const { AMQP_URL: url, AMQP_CONTROL: control } = process.env;
  if (!url || !control) return startRabbit();
  const env = { ...process.env, ...(JSON.parse(control) as NodeJS.ProcessEnv) };
  return { url, ctl: (...args) => runCtl(env, args), stop: async () => {} };
}

/** A node of its own. undefined where there is no RabbitMQ. */
export async function startRabbit(options: RabbitServerOptions = {}): Promise<StartedRabbit | undefined> {
  // Debian's command changes its user, and knows its own folders only
  const program = findProgram(['/usr/lib/rabbitmq/bin/rabbitmq-server', 'rabbitmq-server'], 'rabbitmq-server');
  if (program === undefined) return missing('RabbitMQ', 'set AMQP_URL, or install rabbitmq-server');
  const node = new StartedRabbit(program, {
    port: await freePort(),
    distPort: await freePort(),
    epmdPort: options.cluster?.epmdPort ?? (await freePort()),
    ...options,
  });
  try {
    await node.start();
    if (options.cluster !== undefined) await node.join(options.cluster);
  } catch (error) {
    await node.stop();
    throw error;
  }
  return node;
}

interface NodeOptions extends RabbitServerOptions {
  readonly port: number;
  readonly distPort: number;
  readonly epmdPort: number;
}

/** A node of this process, which can be killed and started again with its data. */
export class StartedRabbit implements ControlledRabbit {
  readonly port: number;
  readonly epmdPort: number;
  readonly #program: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'machinery-rabbitmq-'));
  readonly #env: NodeJS.ProcessEnv;
  readonly #ownsEpmd: boolean;
  #process: ChildProcess | undefined;
  #epmd: ChildProcess | undefined;
  readonly #killAll = () => {
    killGroup(this.#process);
    this.#epmd?.kill('SIGKILL');
  };

  constructor(program: string, { port, distPort, epmdPort, settings = [], advanced = [], cluster }: NodeOptions) {
    this.port = port;
    this.epmdPort = epmdPort;
    this.#program = program;
    this.#ownsEpmd = cluster === undefined;
    const config = join(this.#folder, 'rabbitmq.conf');
    const lines = ['loopback_users = none', 'disk_free_limit.absolute = 50MB', 'log.file.level = warning', ...settings];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const advancedConfig = join(this.#folder, 'advanced.config');
    writeFileSync(advancedConfig, `[{rabbit, [${advanced.join(', ')}]}].\n`);
    writeFileSync(join(this.#folder, 'enabled_plugins'), '[].\n');
    writeFileSync(join(this.#folder, 'environment'), '');
    writeFileSync(join(this.#folder, '.erlang.cookie'), 'machinery', { mode: 0o400 });
    mkdirSync(join(this.#folder, 'log'));
    this.#env = {
      ...process.env,
      HOME: this.#folder,
      ERL_CRASH_DUMP: join(this.#folder, 'erl_crash.dump'), // or it is where the tests were started
      ERL_EPMD_PORT: String(epmdPort),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: `machinery-${port}@localhost`,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: String(distPort),
      RABBITMQ_MNESIA_BASE: join(this.#folder, 'data'),
      RABBITMQ_LOG_BASE: join(this.#folder, 'log'),
      RABBITMQ_CONFIG_FILE: config,
      RABBITMQ_ADVANCED_CONFIG_FILE: advancedConfig,
      RABBITMQ_CONF_ENV_FILE: join(this.#folder, 'environment'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(this.#folder, 'enabled_plugins'),
      RABBITMQ_PID_FILE: join(this.#folder, 'pid'),
      // Waiting busily, as it does, takes the processor from what is tested
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+sbwt none +sbwtdcpu none +sbwtdio none',
    };
  }

  get url(): string {
    return `amqp://127.0.0.1:${this.port}`;
  }

  get node(): string {
    return this.#env.RABBITMQ_NODENAME as string;
  }

  /** The id of the beam, for its memory in /proc. */
  get pid(): number {
    return Number(readFileSync(join(this.#folder, 'pid'), 'utf8'));
  }

  async start(): Promise<void> {
    if (this.#ownsEpmd && this.#epmd === undefined) {
      this.#epmd = spawn('epmd', [], { stdio: 'ignore', env: this.#env });
      this.#epmd.once('error', () => {}); // the server starts one, or says why it cannot
      this.#epmd.unref();
    }
    const child = spawn(this.#program, [], { stdio: 'ignore', env: this.#env, detached: true }); // a shell, and its children
    this.#process = child;
    process.once('exit', this.#killAll);
    child.unref();
    const deadline = performance.now() + startMs;
    while (!(await answers(this.port))) {
      if (child.exitCode !== null) throw new Error(`${this.#program} ended with ${child.exitCode}: ${this.#log()}`);
      if (performance.now() > deadline) throw new Error(`${this.#program} did not start: ${this.#log()}`);
      await sleep(100);
    }
  }

  /** What `AMQP_CONTROL` tells other processes. */
  get control(): string {
    return JSON.stringify(
      Object.fromEntries(Object.entries(this.#env).filter(([name, value]) => process.env[name] !== value)),
    );
  }

  ctl(...args: string[]): Promise<string> {
    return runCtl(this.#env, args);
  }

  async join({ node }: StartedRabbit): Promise<void> {
    await this.ctl('stop_app');
    await this.ctl('join_cluster', node);
    await this.ctl('start_app');
  }

  /** SIGKILL by default; what SIGSTOP stops goes on with SIGCONT. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process as ChildProcess;
    child.ref();
    killGroup(child, signal);
    if (signal !== 'SIGKILL') return;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    while (await answers(this.port)) await sleep(20);
    process.off('exit', this.#killAll);
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined) await this.kill();
    this.#epmd?.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  #log(): string {
    const file = join(this.#folder, 'log', `${this.node}.log`);
    return existsSync(file) ? readFileSync(file, 'utf8').slice(-2_000) : 'it has written no log';
  }
}

async function runCtl(env: NodeJS.ProcessEnv, args: readonly string[]): Promise<string> {
  const program = existsSync('/usr/lib/rabbitmq/bin/rabbitmqctl') ? '/usr/lib/rabbitmq/bin/rabbitmqctl' : 'rabbitmqctl';
  const all = ['--quiet', '--node', env.RABBITMQ_NODENAME as string, ...args];
  return (await promisify(execFile)(program, all, { env, timeout: startMs })).stdout;
}

function killGroup(child: ChildProcess | undefined, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (child?.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // it has ended
  }
}

/** Whether an AMQP server greets. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('AMQP\0\0\x09\x01'));
    const end = (is: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(is);
    };
    const timer = setTimeout(() => end(false), 2_000);
    socket
      .once('data', () => end(true))
      .once('error', () => end(false))
      .once('close', () => end(false));
  });
}
