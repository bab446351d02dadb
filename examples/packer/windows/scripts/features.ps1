$ErrorActionPreference = 'Stop'
foreach ($name in $env:FEATURES.Split(',')) {
    Install-WindowsFeature -Name $name -IncludeManagementTools
}
