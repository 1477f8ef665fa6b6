from pathlib import Path

from tools.terraform_configuration import Body, directories, read, references

MAIN = """\
# resource "aws_sqs_pond" "in_a_comment" {}
resource "aws_sqs_queue" "q" {
  for_each = { for name in local.names : name => 1 }
  name     = "${var.prefix}-}{-${each.key}" # a remark with = { in it

  lifecycle {
    prevent_destroy = true
  }

  dynamic "rule" {
    for_each = var.rules

    content {
      policy = <<-EOT
        not_an_argument = ${data.aws_region.here.id}
      EOT

      inner { arn = aws_sns_topic.t["a"].arn }
    }
  }
}

data "aws_region" "here" {}
"""


def test_blocks_are_read_with_their_labels_and_arguments(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(MAIN)
    queue, region = read(tmp_path)

    assert (queue.kind, queue.labels) == ("resource", ("aws_sqs_queue", "q"))
    assert queue.body.arguments == {
        "for_each": "{ for name in local.names : name => 1 }",
        "name": '"${var.prefix}-}{-${each.key}"',
    }
    assert (region.kind, region.labels, region.body) == ("data", ("aws_region", "here"), Body())


def test_a_dynamic_block_is_read_as_the_block_that_it_generates(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(MAIN)
    (lifecycle, _), (rule, made) = read(tmp_path)[0].body.blocks

    assert (lifecycle, rule) == ("lifecycle", "rule")
    assert set(made.arguments) == {"for_each", "policy"}
    assert made.blocks == [("inner", Body({"arn": 'aws_sns_topic.t["a"].arn'}))]


def test_references_are_found_at_every_depth(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(MAIN)

    assert set(references(read(tmp_path)[0].body)) == {
        ("data", "aws_region", "id"),
        ("resource", "aws_sns_topic", "arn"),
    }


def test_terraforms_working_folder_and_tests_are_not_read(tmp_path: Path) -> None:
    for path in ("a/main.tf", "a/.terraform/modules/x/main.tf", "b/tests/x.tftest.hcl"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")

    assert directories(tmp_path) == [tmp_path / "a"]
