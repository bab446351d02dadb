variable "image" {
  description = "What the image is called."
  type        = string
}

variable "size" {
  description = "Of the disk."
  type        = string
  default     = "8G"

  validation {
    condition     = can(regex("^[0-9]+[MG]$", var.size))
    error_message = "The size must be a number with `M` or `G`."
  }
}

variable "mirror" {
  type = string
}

variable "users" {
  type = map(object({
    uid    = number
    groups = optional(set(string), [])
    shell  = optional(string, "/bin/bash")
  }))
  default = {}
}

variable "headless" {
  type    = bool
  default = true
}
