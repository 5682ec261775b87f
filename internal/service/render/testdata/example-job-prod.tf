# Written by slipway from slipway.yaml, anew at every plan: change that file, not this one.

terraform {
  required_providers {
    slipway = {
      source = "slipway/slipway"
    }
  }

  backend "local" {
  }
}

provider "slipway" {
}

resource "slipway_service" "this" {
  image         = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  release       = "c656597"
  name          = "wordcount"
  team          = "platform"
  environment   = "prod"
  kind          = "job"
  cluster       = "demo"
  launch_type   = "EC2"
  desired_count = 0
  containers = [
    {
      name   = "wordcount"
      cpu    = 128
      memory = 128
      env = {
        TEXT = "the quick brown fox jumps over the lazy dog"
      }
    },
  ]
  logs = {
    group = "/slipway/prod/wordcount"
  }
  schedule = "cron(0 3 * * ? *)"
  tags = {
    environment = "prod"
    service     = "wordcount"
    team        = "platform"
  }
}

output "url" {
  value = slipway_service.this.url
}

output "revision" {
  value = slipway_service.this.revision
}

output "task_definition_arn" {
  value = slipway_service.this.task_definition_arn
}
