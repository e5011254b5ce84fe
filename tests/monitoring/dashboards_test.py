# SPDX-License-Identifier: Apache-2.0
"""The dashboards are ones that Grafana can show, they and the rules ask for what docs/monitoring.md has, and each check of that
reports what it is there for.
"""
import copy
import re
import unittest

import dashboards
import monitoring


def text_of(*path):
    return monitoring.FOLDER.joinpath(*path).read_text()


class Dashboards(unittest.TestCase):
    def setUp(self):
        self.metrics = monitoring.documented()
        self.boards = monitoring.dashboards()

    def test_are_three_and_sound(self):
        self.assertEqual(set(self.boards), {"training.json", "exchange.json", "resources.json"})
        for name, board in self.boards.items():
            self.assertEqual(dashboards.complaints(board, self.metrics), [], name)
        self.assertEqual(len({board["uid"] for board in self.boards.values()}), 3)

    def test_have_the_same_choices_and_lead_to_each_other(self):
        for name, board in self.boards.items():
            self.assertEqual(list(monitoring.variables(board)), ["datasource", "job", "instance", "host", "role", "rank"], name)
            [link] = board["links"]
            self.assertTrue(set(link["tags"]) <= set(board["tags"]) and link["includeVars"], name)

    def test_and_rules_together_use_every_metric(self):
        used, _ = monitoring.named_in(text_of("prometheus", "tutti.rules.yml"), self.metrics)
        for board in self.boards.values():
            for _, expression in monitoring.expressions(board):
                used |= monitoring.named_in(expression, self.metrics)[0]
        self.assertEqual(set(self.metrics) - used, set())

    def test_take_their_data_from_what_is_provisioned(self):
        source = text_of("grafana", "provisioning", "datasources", "tutti.yml")
        [uid] = re.findall(r"^ +uid: (\S+)$", source, re.MULTILINE)
        [interval] = re.findall(r"^ +timeInterval: (\S+)$", source, re.MULTILINE)
        self.assertIn(f"\n  scrape_interval: {interval}\n", text_of("prometheus", "prometheus.yml"))
        for name, board in self.boards.items():
            self.assertEqual(monitoring.variables(board)["datasource"]["current"]["value"], uid, name)
        provider = text_of("grafana", "provisioning", "dashboards", "tutti.yml")
        self.assertIn("path: ${TUTTI_MONITORING}/grafana/dashboards\n", provider)


class Rules(unittest.TestCase):
    def test_ask_for_what_the_page_has(self):
        for file in ["tutti.rules.yml", "tutti.rules_test.yml"]:
            self.assertEqual(monitoring.named_in(text_of("prometheus", file), monitoring.documented())[1], set(), file)

    def test_say_what_they_are_and_are_played_and_listed(self):
        played = text_of("prometheus", "tutti.rules_test.yml")
        page = monitoring.PAGE.read_text()
        rules = text_of("prometheus", "tutti.rules.yml").split("- alert: ")[1:]
        for rule in rules:
            name = rule.split("\n")[0]
            for part in [r"^ {8}for: \d+m$", r"^ {10}severity: (info|warning|critical)$", "^ {10}summary: ", "^ {10}description: "]:
                self.assertRegex(rule, re.compile(part, re.MULTILINE), name)
            self.assertIn(f"| `{name}` |", page)
            self.assertRegex(played, rf"alertname: {name}\n +exp_alerts:\n", "no test lets it come")
            self.assertRegex(played, rf"alertname: {name}\n(?! +exp_alerts:)", "no test lets it stay away")
        self.assertEqual(set(re.findall(r"^\| `(Tutti\w+)` \|", page, re.MULTILINE)), {rule.split("\n")[0] for rule in rules})


class Checks(unittest.TestCase):
    """Of a sound dashboard, broken in one place."""

    def setUp(self):
        self.metrics = monitoring.documented()
        self.board = copy.deepcopy(monitoring.dashboards()["exchange.json"])
        self.first, self.second = self.board["panels"][:2]

    def assert_one(self, words):
        found = dashboards.complaints(self.board, self.metrics)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_report_an_old_schema(self):
        self.board["schemaVersion"] = 37
        self.assert_one("expected 38")

    def test_report_a_missing_uid(self):
        del self.board["uid"]
        self.assert_one("has no uid")

    def test_report_panels_that_overlap(self):
        self.second["gridPos"]["x"] -= 1
        self.assert_one("overlap")

    def test_report_a_panel_outside_of_the_grid(self):
        self.board["panels"][-1]["gridPos"]["w"] += 1
        self.assert_one("outside")

    def test_report_an_id_that_comes_twice(self):
        self.second["id"] = self.first["id"]
        self.assert_one("the same id")

    def test_report_an_unknown_unit(self):
        self.first["fieldConfig"]["defaults"]["unit"] = "seconds"
        self.assert_one("the unit 'seconds'")

    def test_report_a_fixed_data_source(self):
        self.first["targets"][0]["datasource"] = {"type": "prometheus", "uid": "PBFA97CFB590B2093"}
        self.assert_one("takes its data from")

    def test_report_targets_without_expressions_or_letters(self):
        self.first["targets"].append({**self.first["targets"][0], "expr": ""})
        found = "\n".join(dashboards.complaints(self.board, self.metrics))
        self.assertIn("has the refIds ['A', 'A']", found)
        self.assertIn("has no expr", found)

    def test_report_a_variable_that_is_not_there(self):
        self.first["targets"][0]["expr"] = 'tutti_up{node="$node"}'
        self.assert_one("uses $node")

    def test_report_a_variable_that_comes_too_late(self):
        self.board["templating"]["list"].append(self.board["templating"]["list"].pop(1))
        found = dashboards.complaints(self.board, self.metrics)
        self.assertTrue(found and all("uses $job, which does not come before it" in each for each in found), found)

    def test_report_a_metric_that_is_not_documented(self):
        self.first["targets"][0]["expr"] = "tutti_ups"
        self.assert_one("asks for tutti_ups")
        self.first["targets"][0]["expr"] = "tutti_up_bucket"
        self.assert_one("asks for tutti_up_bucket")
        self.first["targets"][0]["expr"] = "tutti_step_seconds"
        self.assert_one("asks for tutti_step_seconds")

    def test_report_a_legend_without_its_label(self):
        self.first["targets"][0]["legendFormat"] = "{{rank}}"
        self.assert_one("shows rank")


if __name__ == "__main__":
    unittest.main()
