//! The script that runs a command with elevated rights: it makes a task of Windows' scheduler, since a connection of
//! WinRM or SSH does not get the rights of a user who sits there.
//!
//! The task's output goes to a file, which the script prints as it grows; the task's result is its exit code. It removes
//! the file, the task and itself, whatever happens.

use imgbuild_engine::ActionError;

/// A command for the scheduler.
pub(super) struct Task<'a> {
    /// What it is called there; the file of its output is named after it.
    pub(super) name: &'a str,
    /// Who runs it.
    pub(super) user: &'a str,
    /// That user's password; without one, the user is a service account.
    pub(super) password: &'a str,
    /// The command, for `cmd`.
    pub(super) command: &'a str,
}

impl Task<'_> {
    /// The script, in ASCII alone, as old versions of PowerShell take other bytes for the system's code page.
    ///
    /// # Errors
    /// If XML cannot hold the user, the password or the command.
    pub(super) fn script(&self) -> Result<String, ActionError> {
        let name = self.name;
        let definition = self.definition()?;
        let user = escape("elevated_user", self.user)?;
        // The scheduler's names: 1 is a password, 5 a service account.
        let (password, logon) = match self.password {
            "" => ("$null".to_owned(), 5),
            text => (
                format!(
                    "([xml]'<text>{}</text>').DocumentElement.InnerText",
                    escape("elevated_password", text)?
                ),
                1,
            ),
        };
        Ok(format!(
            r#"$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$result = 1
$reader = $null
$folder = $null
$output = Join-Path $env:SystemRoot 'Temp\{name}.out'
$definition = @'
{definition}
'@
$user = ([xml]'<text>{user}</text>').DocumentElement.InnerText
$password = {password}
$scheduler = New-Object -ComObject 'Schedule.Service'
try {{
    $scheduler.Connect()
    $folder = $scheduler.GetFolder('\')
    $task = $scheduler.NewTask(0)
    $task.XmlText = $definition
    # 6: made, or made anew.
    $task = $folder.RegisterTaskDefinition('{name}', $task, 6, $user, $password, {logon}, $null)
    $null = $task.Run($null)
    # 267011: it has not run yet. States 2 and 4: it is queued, it runs.
    $deadline = (Get-Date).AddSeconds(10)
    while ($task.State -ne 4 -and $task.LastTaskResult -eq 267011 -and (Get-Date) -lt $deadline) {{
        Start-Sleep -Milliseconds 100
    }}
    do {{
        $running = $task.State -eq 4 -or $task.State -eq 2
        if ($null -eq $reader -and (Test-Path -LiteralPath $output)) {{
            $file = [IO.File]::Open($output, 'Open', 'Read', 'ReadWrite, Delete')
            $reader = New-Object IO.StreamReader($file, [Console]::OutputEncoding)
        }}
        if ($null -ne $reader) {{
            while ($null -ne ($line = $reader.ReadLine())) {{ Write-Output $line }}
        }}
        if ($running) {{ Start-Sleep -Milliseconds 100 }}
    }} while ($running)
    $result = $task.LastTaskResult
}} finally {{
    $ErrorActionPreference = 'SilentlyContinue'
    if ($null -ne $reader) {{ $reader.Dispose() }}
    if ($null -ne $folder) {{ $folder.DeleteTask('{name}', 0) }}
    Remove-Item -LiteralPath $output -Force
    Remove-Item -LiteralPath $MyInvocation.MyCommand.Path -Force
}}
exit $result
"#
        ))
    }

    /// The task as the scheduler's XML.
    ///
    /// # Errors
    /// If XML cannot hold the user or the command.
    pub(super) fn definition(&self) -> Result<String, ActionError> {
        let user = escape("elevated_user", self.user)?;
        // With `/s`, `cmd` takes off the outer quotes and leaves all others.
        let arguments = format!(r#"/s /c "{} > %SystemRoot%\Temp\{}.out 2>&1""#, self.command, self.name);
        let arguments = escape("elevated_execute_command", &arguments)?;
        let logon = if self.password.is_empty() { "" } else { "<LogonType>Password</LogonType>" };
        Ok(format!(
            r#"<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>A provisioner's script with elevated rights</Description></RegistrationInfo>
  <Principals>
    <Principal id="Author"><UserId>{user}</UserId>{logon}<RunLevel>HighestAvailable</RunLevel></Principal>
  </Principals>
  <Settings>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <IdleSettings><StopOnIdleEnd>false</StopOnIdleEnd><RestartOnIdle>false</RestartOnIdle></IdleSettings>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>4</Priority>
  </Settings>
  <Actions Context="Author">
    <Exec><Command>cmd</Command><Arguments>{arguments}</Arguments></Exec>
  </Actions>
</Task>"#
        ))
    }
}

/// A text as the content of an XML element, such that it can also stand between PowerShell's single quotes: whatever is
/// no letter, digit or harmless sign of ASCII is a number.
fn escape(attribute: &str, text: &str) -> Result<String, ActionError> {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                return Err(ActionError::input(format!(
                    "`{attribute}` has a character that no task can hold"
                ))
                .hint("control characters and U+FFFE and U+FFFF are none of XML's"));
            }
            '<' | '>' | '&' | '"' | '\'' => escaped.push_str(&format!("&#{};", u32::from(character))),
            ' '..='~' => escaped.push(character),
            _ => escaped.push_str(&format!("&#{};", u32::from(character))),
        }
    }
    Ok(escaped)
}
