<powershell>
$certificate = New-SelfSignedCertificate -CertStoreLocation Cert:\LocalMachine\My -DnsName build
winrm quickconfig -quiet
New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address * -CertificateThumbPrint $certificate.Thumbprint -Force
New-NetFirewallRule -DisplayName winrm -Direction Inbound -LocalPort 5986 -Protocol TCP -Action Allow
Restart-Service WinRM
</powershell>
