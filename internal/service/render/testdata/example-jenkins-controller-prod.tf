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
  name        = "jenkins"
  team        = "platform"
  environment = "prod"
  cluster     = "demo"
  launch_type = "EC2"
  containers = [
    {
      name   = "jenkins"
      cpu    = 512
      memory = 1536
      ports = [
        {
          container = 8080
        },
      ]
      env = {
        AWS_REGION  = "us-east-1"
        CLUSTER     = "demo"
        JENKINS_URL = "https://jenkins.example.com/"
        LIBRARY_URL = "https://git.example.com/platform/slipway-library.git"
      }
      secrets = {
        ADMIN_PASSWORD = "ssm:/jenkins/admin-password"
      }
      stop_timeout = 120
      mounts = [
        {
          volume = "home"
          path   = "/var/jenkins_home"
        },
      ]
    },
  ]
  volumes = [
    {
      name = "home"
      efs = {
        file_system = "fs-0123456789abcdef0"
      }
    },
  ]
  placement = {
    strategies = [
      {
        type  = "spread"
        field = "attribute:ecs.availability-zone"
      },
      {
        type  = "spread"
        field = "instanceId"
      },
    ]
  }
  route = {
    listener  = "prod"
    paths     = ["/*"]
    container = "jenkins"
    port      = 8080
    health = {
      path = "/login"
    }
    deregistration_delay = 5
    grace_period         = 600
  }
  logs = {
    group = "/slipway/prod/jenkins"
  }
  deployment = {
    minimum_healthy = 0
    maximum         = 100
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
    {
      name      = "default-errors"
      metric    = "5xx-percent"
      threshold = 5
      periods   = 5
    },
    {
      name      = "default-latency"
      metric    = "latency-p95"
      threshold = 1
      periods   = 5
    },
    {
      name      = "default-unhealthy"
      metric    = "unhealthy"
      threshold = 0
      periods   = 5
    },
  ]
  task_role = {
    statements = [
      {
        actions   = ["ecs:RunTask", "ecs:TagResource"]
        resources = ["arn:aws:ecs:*:*:task-definition/jenkins-agent-*:*", "arn:aws:ecs:*:*:task/*"]
      },
      {
        actions   = ["ecs:DescribeTaskDefinition", "ecs:ListClusters", "ecs:DescribeClusters", "ecs:DescribeContainerInstances", "ecs:DescribeTasks", "ecs:StopTask"]
        resources = ["*"]
      },
      {
        actions   = ["iam:PassRole"]
        resources = ["arn:aws:iam::*:role/*jenkins-agent*"]
      },
    ]
  }
  tags = {
    environment = "prod"
    service     = "jenkins"
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
