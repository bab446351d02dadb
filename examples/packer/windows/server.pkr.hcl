# A Windows server: WinRM is switched on by user data, and updates need restarts.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1"
    }
    windows-update = {
      source  = "github.com/rgl/windows-update"
      version = "0.16.10"
    }
  }
}

variable "features" {
  type    = list(string)
  default = ["Web-Server", "Web-Asp-Net45"]

  validation {
    condition     = alltrue([for name in var.features : can(regex("^[A-Za-z0-9-]+$", name))])
    error_message = "Features are named by letters, digits and hyphens."
  }
}

variable "service_password" {
  type      = string
  default   = "Only-For-Show-1!"
  sensitive = true
}

locals {
  when = legacy_isotime("2006-01-02")
}

source "amazon-ebs" "windows" {
  region         = "eu-west-2"
  instance_type  = "t3.large"
  ami_name       = "windows-web-${local.when}"
  user_data_file = "${path.root}/scripts/winrm.ps1"
  fast_launch {
    enable_fast_launch    = true
    target_resource_count = 3
  }

  communicator             = "winrm"
  winrm_username           = "Administrator"
  winrm_use_ssl            = true
  winrm_insecure           = true
  winrm_use_ntlm           = true
  winrm_timeout            = "15m"
  windows_password_timeout = "20m"

  source_ami_filter {
    filters = {
      name = "Windows_Server-2022-English-Full-Base-*"
    }
    owners      = ["amazon"]
    most_recent = true
  }
}

build {
  sources = ["source.amazon-ebs.windows"]

  provisioner "powershell" {
    environment_vars  = ["FEATURES=${join(",", var.features)}"]
    elevated_user     = "SYSTEM"
    elevated_password = ""
    script            = "${path.root}/scripts/features.ps1"
  }

  provisioner "windows-restart" {
    restart_timeout       = "15m"
    restart_check_command = "powershell -command \"& {Write-Output 'restarted.'}\""
  }

  provisioner "windows-update" {
    search_criteria = "IsInstalled=0"
    filters = [
      "exclude:$_.Title -like '*Preview*'",
      "include:$true",
    ]
    update_limit = 25
  }

  provisioner "windows-shell" {
    inline = [
      "net user service %SERVICE_PASSWORD% /add",
      "netsh advfirewall firewall add rule name=http dir=in action=allow protocol=TCP localport=80",
    ]
    env = {
      SERVICE_PASSWORD = var.service_password
    }
  }

  provisioner "file" {
    source      = "${path.root}/scripts/"
    destination = "C:/setup/"
  }

  provisioner "powershell" {
    inline = [
      "& 'C:/Program Files/Amazon/EC2Launch/ec2launch' reset --clean",
      "& 'C:/Program Files/Amazon/EC2Launch/ec2launch' sysprep --shutdown --clean",
    ]
    valid_exit_codes = [0, 2300218]
    use_pwsh         = false
    debug_mode       = 0
  }
}
