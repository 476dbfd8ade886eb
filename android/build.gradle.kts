// What the modules share: one version of everything (gradle/libs.versions.toml), one coordinate, one documentation.
plugins {
    alias(libs.plugins.android.library) apply false
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.android) apply false
    alias(libs.plugins.dokka)
}

dependencies {
    dokka(project(":sdk"))
    dokka(project(":fcm"))
    dokka(project(":testing"))
}

allprojects {
    group = "dev.backstop"
    version = providers.gradleProperty("backstop.version").get()
}
