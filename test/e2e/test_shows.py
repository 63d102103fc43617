"""The shows of scripts/show.sh, cut short."""
import sys
import unittest

from harness import ROOT

sys.path.insert(0, str(ROOT / 'test/shows'))
import chaos  # noqa: E402 (the path comes first)
import zero_downtime  # noqa: E402


def quiet(_text):
    pass


class Shows(unittest.TestCase):
    def no_request_fails(self, kind, sizes):
        for report in zero_downtime.run(kind, requests=2000, rate=400, rolls=2, sizes=sizes, say=quiet):
            self.assertEqual((0, []), (report['failed'], report['failures']), report)
            self.assertGreaterEqual(report['requests'], 1000)
            self.assertEqual({'0', '1', '2'}, set(report['answers']), 'not every version has answered')

    def test_no_request_fails_while_a_deployment_is_rolled_and_scaled(self):
        self.no_request_fails('Deployment', (6, 2))

    def test_no_request_fails_while_a_stateful_set_is_rolled_and_scaled(self):
        self.no_request_fails('StatefulSet', (4, 2))

    def test_the_world_equals_the_specs_after_chaos(self):
        self.assertEqual([], chaos.run(seconds=20, seed=1, server_kills=2, say=quiet))


if __name__ == '__main__':
    unittest.main()
