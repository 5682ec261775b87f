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
  image       = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  release     = "c656597"
  name        = "worker"
  team        = "platform"
  environment = "qa"
  kind        = "worker"
  cluster     = "demo"
  launch_type = "EC2"
  scaling = {
    min = 1
    max = 2
    targets = [
      {
        metric = "queue"
        target = 25
        queue  = "jobs"
      },
    ]
  }
  containers = [
    {
      name   = "worker"
      cpu    = 64
      memory = 64
      env = {
        QUEUE_URL = "http://queue.internal/jobs"
      }
      stop_timeout = 20
    },
  ]
  placement = {
    strategies = [
      {
        type  = "binpack"
        field = "memory"
      },
    ]
  }
  logs = {
    group = "/slipway/qa/worker"
  }
  alarms = [
    {
      name      = "default-cpu"
      metric    = "cpu"
      threshold = 90
      periods   = 5
    },
    {
      name      = "default-memory"
      metric    = "memory"
      threshold = 90
      periods   = 5
    },
    {
      name      = "default-churn"
      metric    = "task-churn"
      threshold = 3
      periods   = 1
      period    = 300
    },
  ]
  task_role = {
    statements = [
      {
        actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
        resources = ["arn:aws:sqs:*:*:jobs"]
      },
    ]
  }
  tags = {
    environment = "qa"
    service     = "worker"
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
