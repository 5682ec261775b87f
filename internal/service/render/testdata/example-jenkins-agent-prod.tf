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
  name          = "jenkins-agent"
  team          = "platform"
  environment   = "prod"
  kind          = "job"
  cluster       = "demo"
  launch_type   = "EC2"
  desired_count = 0
  containers = [
    {
      name   = "jenkins-agent"
      cpu    = 1024
      memory = 1024
      env = {
        JENKINS_WEB_SOCKET = "true"
      }
      init = true
    },
  ]
  logs = {
    group = "/slipway/prod/jenkins-agent"
  }
  task_role = {
    statements = [
      {
        actions   = ["sts:AssumeRole"]
        resources = ["arn:aws:iam::*:role/slipway-*"]
      },
    ]
  }
  tags = {
    environment = "prod"
    service     = "jenkins-agent"
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
