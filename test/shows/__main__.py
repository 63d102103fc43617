"""What scripts/show.sh runs."""
import argparse
import sys

import chaos
import zero_downtime


def show_zero_downtime(arguments):
    failed = 0
    for kind, sizes in (('Deployment', (12, 2, 3)), ('StatefulSet', (5, 2, 3))):
        requests = arguments.requests if kind == 'Deployment' else arguments.requests // 5
        print(f'== {kind}: {requests} requests at {arguments.rate:g}/s, {arguments.rolls} rolls, sizes 3, {", ".join(map(str, sizes))}', flush=True)
        for source, report in zip(('node to cluster IP', 'client to node port'),
                                  zero_downtime.run(kind, requests, arguments.rate, arguments.rolls, sizes)):
            failed += report['failed']
            print(f'{source}: {report["requests"]} requests in {report["seconds"]} s, {report["failed"]} failed; ms p50 {report["p50"]} '
                  f'p99 {report["p99"]} max {report["max"]}', *report['failures'], sep='\n  ', flush=True)
    return failed


def show_chaos(arguments):
    problems = chaos.run(arguments.seconds, arguments.seed, arguments.server_kills, arguments.vm)
    print(*problems, f'{len(problems)} things are not as they should be', sep='\n')
    return len(problems)


def main():
    parser = argparse.ArgumentParser(prog='show.sh')
    commands = parser.add_subparsers(dest='show', required=True)
    command = commands.add_parser('zero-downtime')
    command.add_argument('--requests', type=int, default=100_000)
    command.add_argument('--rate', type=float, default=800)
    command.add_argument('--rolls', type=int, default=10)
    command.set_defaults(run=show_zero_downtime)
    command = commands.add_parser('chaos')
    command.add_argument('--seconds', type=int, default=600)
    command.add_argument('--seed', type=int)
    command.add_argument('--server-kills', type=int, default=10)
    command.add_argument('--vm', action='store_true')
    command.set_defaults(run=show_chaos)
    arguments = parser.parse_args()
    return 1 if arguments.run(arguments) else 0


if __name__ == '__main__':
    sys.exit(main())
