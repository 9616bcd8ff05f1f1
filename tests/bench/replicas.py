"""Replicas on one store, and everything goes wrong at random: no vendor's bill may pass a cap.

    python tests/bench/replicas.py [--store postgres|redis|sqlite] [--seconds 180] [--replicas 4] [--rate 60] [--seed N] [--json]

The load is open: a request leaves on its timetable, to a replica at random, as from a balancer that knows nothing. After
a steady while, in which the store's operations are counted, replicas are told to end, SIGKILLed and started again, or
stopped for up to 40 s (longer than a lease), their wall clocks are set up to 5 s forwards and backwards, and PostgreSQL
and Redis are killed and started again, alone and both; Redis comes back empty or old. The vendor is this process: it
bills each call as soon as it is there, in full, whatever becomes of the answer, and compares each team's bill with its
caps at that instant. When the trouble is over each tight budget is used up; then what is in the ledger is held against
the bill, call by call.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import aiohttp
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from redisserver import RedisServer, free_port
from support import open_attempts, rows, samples

PROMPT, PER_INPUT, PER_OUTPUT = 10, 1_000, 2_000  # tokens as billed, and nano-dollars for each
TEAMS = 12
MEAN = PROMPT * PER_INPUT + 30 * PER_OUTPUT  # of a request
STEPPED = Path(__file__).resolve().parent.parent / "money" / "stepped.py"
ASKED = re.compile(r"team=(\w+) n=(\d+) out=(\d+) wait=([\d.]+) (\w+)")
WARM_S = 8  # before operations are counted: first every replica draws on every budget
LONG = [(0, 0), (0, 5), (5, 20), (5, 20), (20, 40)]  # seconds that something is away: leases last for 15, and 10 more
QUIET_S = 90  # the longest that burying, mending and using up may take


class Vendor(asyncio.Protocol):
    """Bills a call when it is there; then answers, or breaks off, or fails and takes it back from nobody's bill."""

    bill = None

    def connection_made(self, transport):
        self.transport, self.seen = transport, b""

    def data_received(self, data):
        self.seen += data
        head, _, body = self.seen.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if len(body) < next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")):
            return
        self.seen = b""
        asked = json.loads(body)
        team, n, out, wait, how = ASKED.search(asked["messages"][0]["content"]).groups()
        cap = asked.get("max_tokens") or asked.get("max_completion_tokens")
        written = min(int(out), cap)
        later = asyncio.get_running_loop().call_later
        if how == "fails":
            later(0.01, self.say, b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}")
            return
        scale = 100 if asked["model"] == "tiny" else 1
        Vendor.bill.add(team, int(n), (PROMPT * PER_INPUT + written * PER_OUTPUT) // scale)
        if how == "breaks":
            later(float(wait), self.transport.abort)
        else:
            later(float(wait), self.say, answer(n, written, stream=asked.get("stream", False)))

    def say(self, text):
        self.transport.write(text)


def answer(n, written, *, stream):
    usage = {"prompt_tokens": PROMPT, "completion_tokens": written, "total_tokens": PROMPT + written}
    told = {"id": f"call-{n}", "model": "small", "usage": usage}
    if not stream:
        message = {"role": "assistant", "content": "word " * written}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({**told, "object": "chat.completion", "choices": [choice]}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    said = {"index": 0, "delta": {"content": "word " * written}, "finish_reason": "stop"}
    events = [{**told, "usage": None, "choices": [said]}, {**told, "choices": []}]
    text = "".join(f"data: {json.dumps({**one, 'object': 'chat.completion.chunk'})}\n\n" for one in events)
    text = text.encode() + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)


class Bill:
    """What the vendor has charged, and what was wrong with it at the instant it was."""

    def __init__(self, caps):
        self.caps, self.sums, self.calls, self.past = caps, Counter(), [], []

    def add(self, team, n, nano):
        self.calls.append((team, n, nano))
        for account in (team, "*"):
            self.sums[account] += nano
            if self.sums[account] > self.caps[account]:
                self.past.append((account, n, self.sums[account], self.caps[account]))


class Replica:
    """One `farebox serve`, started again whenever it ends, as by a supervisor."""

    def __init__(self, storm, number):
        self.storm, self.port, self.name = storm, free_port(), f"replica-{number}"
        self.folder = storm.folder / self.name
        self.folder.mkdir()
        self.offset = self.folder / "offset"
        self.offset.write_text("0")
        told = storm.config | {"server": {**storm.config["server"], "port": self.port}}
        if storm.args.store == "apart":
            told["store"] = f"sqlite:///{self.folder}/farebox.db"
        self.file = self.folder / "farebox.yaml"
        self.file.write_text(yaml.safe_dump(told, sort_keys=False))
        self.child, self.held_back, self.stopped, self.ends = None, 0.0, False, Counter()

    def start(self):
        environment = {name: told for name, told in os.environ.items() if not name.startswith("FAREBOX_")}
        environment |= {"STEPPED_BY": str(self.offset), "HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, STEPPED, "serve", "--config", self.file, *self.storm.arguments]
            self.child = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)

    async def supervise(self):
        while True:
            if self.child is not None and (code := self.child.poll()) is not None:
                self.ends[code] += 1
                self.child = None
                await asyncio.sleep(0.5)
            if self.child is None and time.monotonic() >= self.held_back:
                self.start()
            await asyncio.sleep(0.05)

    def kill(self, for_s):
        self.held_back = time.monotonic() + for_s
        if self.child is not None and self.child.poll() is None:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def pids(self):
        """Of workers, one at random; else the process itself."""
        if not self.storm.workers:
            return [self.child.pid]
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return [int(self.storm.dice.choice(children))] if children else []

    async def pause(self, for_s):
        pids = self.pids() if self.child is not None and self.child.poll() is None else []
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


class Storm:
    """One run: its dice, its servers and replicas, and what was seen."""

    def __init__(self, folder, args):
        self.folder, self.args, self.dice = folder, args, random.Random(args.seed)
        self.workers = args.store == "sqlite"
        self.arguments = ["--workers", str(args.replicas)] if self.workers else []
        self.results, self.events, self.took = Counter(), Counter(), []
        self.asked, self.tasks = 0, set()
        share = args.rate * args.seconds * MEAN / TEAMS
        self.tight, self.ample = [f"team{i}" for i in range(TEAMS - 2)], [f"team{i}" for i in range(TEAMS - 2, TEAMS)]
        self.caps = {team: int(share * self.dice.uniform(0.2, 0.9)) // 1000 * 1000 for team in self.tight}
        self.caps |= dict.fromkeys(self.ample, int(share * 1000)) | {"*": int(share * 5000)}
        self.bill = Vendor.bill = Bill(self.caps)
        self.postgres = self.redis = None
        self.down = set()

    def told(self, vendor_port):
        config = {
            "server": {"budget_wait": "1s", "drain": "5s"},
            "store": self.postgres.url if self.postgres else f"sqlite:///{self.folder}/farebox.db",
            "vendors": {"check": {"dialect": "openai", "base_url": f"http://127.0.0.1:{vendor_port}/v1", "api_key": "sk-x",
                                  "timeout": {"first_byte": "8s", "idle": "8s", "total": "20s"}}},
            "models": {
                "small": {"vendor": "check", "tier": "cheap", "price": {"currency": "USD", "input": 1, "output": 2}},
                "tiny": {"vendor": "check", "tier": "cheap", "price": {"currency": "USD", "input": "0.01", "output": "0.02"}},
            },
            "teams": {
                team: {"keys": [{"name": "app", "value": f"fb-key-of-{team}"}], "models": ["*"],
                       "budgets": [{"limit": str(Decimal(self.caps[team]).scaleb(-9)), "per": "total"}]}
                for team in self.caps if team != "*"
            },
            "budgets": [{"limit": str(Decimal(self.caps["*"]).scaleb(-9)), "per": "total"}],
        }  # fmt: skip
        return config | ({"accounts": self.redis.url} if self.redis else {})

    # The load

    async def one(self, http, n, team, out, **more):
        dice = self.dice
        how = dice.choices(["answers", "fails", "breaks"], [94, 3, 3])[0]
        wait = more.pop("wait", dice.choices([0.01, dice.uniform(0.1, 0.5), dice.uniform(1, 4)], [70, 25, 5])[0])
        text = f"team={team} n={n} out={out} wait={wait:.3f} {more.pop('how', how)} " + "word " * PROMPT
        replica = more.pop("replica", None) or dice.choice(self.replicas)
        body = {
            "model": "small",
            "messages": [{"role": "user", "content": text}],
            "stream": dice.random() < 0.3,
            **more,
        }
        headers = {"Authorization": f"Bearer fb-key-of-{team}", "x-farebox-tags": f"n={n}"}
        began = time.perf_counter()
        try:
            async with asyncio.timeout(60):
                url = f"http://127.0.0.1:{replica.port}/v1/chat/completions"
                async with http.post(url, json=body, headers=headers) as response:
                    told = await response.read()
                    code = re.search(rb'"code": ?"(\w+)"', told) if response.status != 200 else None
                    result = f"{response.status}{' ' + code[1].decode() if code else ''}"
                    if response.status == 503 and (why := re.search(rb'"message": ?"([^":;]+)', told)):
                        result += f": {why[1].decode()}"
        except (aiohttp.ClientConnectorError, ConnectionError):
            result = "nobody listens"
        except aiohttp.ClientError:
            result = "broken off"
        except TimeoutError:
            result = "no answer in 60 s"
        self.results[result] += 1
        self.took.append(time.perf_counter() - began)
        return result

    async def load(self, http, seconds, rate, teams):
        """Requests on a timetable."""
        began, first = time.perf_counter(), self.asked
        while (n := self.asked - first) < rate * seconds:
            await asyncio.sleep(max(0, began + n / rate - time.perf_counter()))
            self.asked += 1
            work = self.one(http, self.asked, self.dice.choice(teams), self.dice.randint(1, 60),
                            max_tokens=self.dice.choice([60, 100]))  # fmt: skip
            task = asyncio.create_task(work)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def use_up(self, http, team):
        """Requests until every replica refuses one right after the other, then cheaper ones for what was left."""
        in_turn = itertools.cycle(self.replicas)
        self.left[team] = Counter()
        for model, out in [("small", 60), ("tiny", 60)]:
            refused = 0
            while refused < 2 * self.args.replicas:
                self.asked += 1
                result = await self.one(
                    http,
                    self.asked,
                    team,
                    out,
                    model=model,
                    max_tokens=out,
                    wait=0.001,
                    how="answers",
                    replica=next(in_turn),
                )
                self.left[team][result] += 1
                refused = refused + 1 if result.startswith("402") else 0
                if not result.startswith(("200", "402")):
                    await asyncio.sleep(0.2)

    # The trouble

    async def trouble(self):
        weights = {"kill": 5, "pause": 2, "clock": 3}
        weights |= {} if self.workers else {"stop": 2}
        weights |= {"postgres": 2} if self.postgres else {}
        weights |= {"redis": 3, "both": 1} if self.redis else {}
        until = time.monotonic() + self.args.seconds
        busy = set()
        while time.monotonic() < until:
            await asyncio.sleep(self.dice.uniform(0.5, self.args.every))
            (what,) = self.dice.choices([*weights], [*weights.values()])
            replica, long = self.dice.choice(self.replicas), self.dice.uniform(*self.dice.choice(LONG))
            long = min(long, max(0.0, until - time.monotonic()))
            self.events[what] += 1
            if what == "kill":
                replica.kill(long)
            elif what == "stop" and replica.child is not None:
                replica.child.terminate()
            elif what == "clock":
                replica.offset.write_text(str(self.dice.randint(-5, 5)))
            elif what == "pause":
                work = replica.pause(long)
                busy.add(asyncio.create_task(work))
            elif what in {"postgres", "redis", "both"}:
                stores = [self.postgres, self.redis] if what == "both" else [getattr(self, what)]
                busy |= {asyncio.create_task(self.restart(store, long)) for store in stores if store not in self.down}
        await asyncio.gather(*busy)

    async def restart(self, store, for_s):
        self.down.add(store)
        await asyncio.to_thread(store.kill)
        await asyncio.sleep(for_s)
        await asyncio.to_thread(store.start)
        if store is self.redis and self.dice.random() < 0.5:  # the next time it comes back with what it had now
            await asyncio.to_thread(store.ask, "SAVE")
        self.down.discard(store)

    # The run

    async def run(self, stack):
        loop, vendor_port = asyncio.get_running_loop(), free_port()
        server = await loop.create_server(Vendor, "127.0.0.1", vendor_port, backlog=1024)
        stack.callback(server.close)
        if self.args.store in {"postgres", "redis"}:
            from postgresserver import PostgresServer  # noqa: PLC0415 (only where it is asked for)

            self.postgres = await asyncio.to_thread(stack.enter_context, PostgresServer(self.folder / "postgres"))
        if self.args.store == "redis":
            (self.folder / "redis").mkdir()
            self.redis = await asyncio.to_thread(stack.enter_context, RedisServer(self.folder / "redis"))
        self.config = self.told(vendor_port)
        self.replicas = [Replica(self, i) for i in range(1 if self.workers else self.args.replicas)]
        watching = [asyncio.create_task(replica.supervise()) for replica in self.replicas]
        stack.callback(self.end, watching)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await self.all_ready(http)
            calm, steady = await self.calm(http) if self.args.steady else (Counter(), 0.0)
            loading = asyncio.create_task(
                self.load(http, self.args.seconds, self.args.rate, [*self.tight, *self.ample])
            )
            await self.trouble()
            await loading
            await asyncio.gather(*self.tasks)
            stormy = self.results - calm
            over = time.perf_counter()
            await self.all_ready(http)
            await asyncio.wait_for(self.all_closed(), QUIET_S)
            await self.use_all_up(http)
            quiet = time.perf_counter() - over
        return self.judge(await asyncio.to_thread(self.rows), steady, calm, stormy, quiet)

    async def use_all_up(self, http):
        self.left = {}  # what came of them, by team
        try:
            async with asyncio.timeout(QUIET_S):
                await asyncio.gather(*(self.use_up(http, team) for team in self.tight))
        except TimeoutError as slow:
            slow.add_note(f"not used up in {QUIET_S} s: {self.left}")
            raise
        await asyncio.wait_for(self.all_closed(), QUIET_S)

    async def calm(self, http):
        """Load on budgets that are far from their end: (what came of it, operations of the store for each request)."""
        await self.load(http, WARM_S, self.args.steady_rate, self.ample)
        before, asked = await self.operations(http), self.asked
        await self.load(http, self.args.steady, self.args.steady_rate, self.ample)
        operations = await self.operations(http) - before
        await asyncio.gather(*self.tasks)
        return Counter(self.results), operations / (self.asked - asked)

    async def all_ready(self, http):
        for replica in self.replicas:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.get(f"http://127.0.0.1:{replica.port}/health/ready") as response:
                        if response.status == 200:
                            break
                assert time.monotonic() < deadline, (replica.folder / "log").read_text()[-3000:]
                await asyncio.sleep(0.1)

    async def all_closed(self):
        """Every attempt has its row: also those of replicas that died, which the others bury."""
        while await asyncio.to_thread(self.select, "SELECT id FROM attempts"):
            await asyncio.sleep(0.2)

    def select(self, query):
        if self.postgres is None:
            look = rows if "ledger" in query else open_attempts
            return [row for store in self.stores() for row in look(store)]
        import psycopg  # noqa: PLC0415 (only where it is asked for)
        from psycopg.rows import dict_row  # noqa: PLC0415

        with psycopg.connect(self.postgres.url, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def stores(self):
        return {yaml.safe_load(replica.file.read_text())["store"] for replica in self.replicas}

    def rows(self):
        return self.select("SELECT * FROM ledger")

    async def operations(self, http):
        """Draws and renewals so far, as the replicas tell."""
        total = 0
        for replica in self.replicas:
            async with http.get(f"http://127.0.0.1:{replica.port}/metrics") as response:
                total += sum(samples(await response.text(), "farebox_lease_operations_total"))
        return total

    def judge(self, found, steady, calm, stormy, quiet):
        spent, by_call = Counter(), Counter()
        for row in found:
            spent[row["team"]] += row["cost"]
            tags = row["tags"] if isinstance(row["tags"], dict) else json.loads(row["tags"])
            by_call[int(tags["n"])] += row["cost"]
        billed = Counter()
        for _, n, nano in self.bill.calls:
            billed[n] += nano
        used = {team: spent[team] / self.caps[team] for team in self.tight}
        told = {
            "store": self.args.store, "seed": self.args.seed, "replicas": self.args.replicas, "seconds": self.args.seconds,
            "asked": self.asked, "calls_billed": len(self.bill.calls), "rows": len(found),
            "bills_past_a_cap": self.bill.past[:5], "calls_without_a_row": len(billed.keys() - by_call.keys()),
            "rows_below_their_bill": sum(by_call[n] < nano for n, nano in billed.items()),
            "rows_of_one_id": len(found) - len({row["id"] for row in found}),
            "spent_past_a_limit": {team: spent[team] - cap for team, cap in self.caps.items() if spent[team] > cap},
            "least_used": round(min(used.values()), 4), "abandoned": sum(row["outcome"] == "abandoned" for row in found),
            "operations_per_request": round(steady, 4), "quiet_s": round(quiet, 1), "events": dict(self.events),
            "ends": dict(sum((replica.ends for replica in self.replicas), Counter())), "steady": dict(calm), "stormy": dict(stormy),
        }  # fmt: skip
        wrong = [
            name
            for name in ("bills_past_a_cap", "calls_without_a_row", "rows_below_their_bill", "rows_of_one_id")
            if told[name]
        ]
        wrong += ["spent_past_a_limit"] if told["spent_past_a_limit"] else []
        wrong += ["least_used"] if told["least_used"] < 0.99 else []
        wrong += ["operations_per_request"] if self.args.steady and steady >= 0.02 else []
        return told | {"wrong": wrong}

    def end(self, watching):
        for task in watching:
            task.cancel()
        for replica in self.replicas:
            if replica.child is not None and replica.child.poll() is None:
                replica.child.terminate()
        for replica in self.replicas:
            if replica.child is not None:
                try:
                    replica.child.wait(15)
                except subprocess.TimeoutExpired:
                    replica.child.kill()


async def main(args, folder):
    with contextlib.ExitStack() as stack:
        return await Storm(folder, args).run(stack)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--store",
        choices=["postgres", "redis", "sqlite", "apart"],
        default="postgres",
        help="apart: each its own file, to see that a passed cap is seen",
    )
    parser.add_argument("--seconds", type=float, default=180, help="of trouble")
    parser.add_argument("--steady", type=float, default=20, help="seconds before it, in which operations are counted")
    parser.add_argument("--steady-rate", type=float, default=300)
    parser.add_argument("--every", type=float, default=10, help="the longest pause between two troubles")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--json", action="store_true", help="one line, for machines")
    parser.add_argument("--keep", type=Path, help="a folder for stores and logs, to look into")
    return parser


if __name__ == "__main__":
    asked = arguments().parse_args()
    print(f"seed {asked.seed}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        where = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where.mkdir(exist_ok=True)
        result = asyncio.run(main(asked, where))
    print(json.dumps(result) if asked.json else yaml.safe_dump(result, sort_keys=False))
    sys.exit(bool(result["wrong"]))
