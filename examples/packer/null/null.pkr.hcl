# No machine at all: steps on this host, in order, each kept in the cache like every other step.

packer {
  required_version = ">= 1.7.0"
}

variable "environment" {
  type    = string
  default = "staging"

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "The environment must be staging or production."
  }
}

variable "token" {
  type      = string
  default   = "only-for-show"
  sensitive = true
}

locals {
  checks = {
    template = "test -s null.pkr.hcl"
    shell    = "command -v sh"
  }
}

source "null" "checks" {
  communicator = "none"
}

build {
  name = "checks"

  source "null.checks" {
    name = "first"
  }

  source "null.checks" {
    name = "second"
  }

  dynamic "provisioner" {
    for_each = local.checks
    labels   = ["shell-local"]

    content {
      inline = [provisioner.value]
    }
  }

  provisioner "shell-local" {
    inline      = ["echo \"$ENVIRONMENT: ${source.name} of $PACKER_BUILDER_TYPE\""]
    max_retries = 2
    timeout     = "1m"
    env = {
      ENVIRONMENT = var.environment
    }
  }

  provisioner "shell-local" {
    inline           = ["test \"$TOKEN\" = only-for-show && echo \"the token is $TOKEN\"; exit 3"]
    environment_vars = ["TOKEN=${var.token}"]
    valid_exit_codes = [0, 3]
    only             = ["null.first"]
  }

  provisioner "sleep" {
    duration = "10ms"
  }

  error-cleanup-provisioner "shell-local" {
    inline = ["echo 'a check failed'"]
  }
}
